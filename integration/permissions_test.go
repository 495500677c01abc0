//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/integration/harness"
)

// permissionScript works in the current directory as root and as two other
// users, and prints what happened: as USER COMMAND prints "ok" or the error.
const permissionScript = `
as() { u=$1; shift; out=$(setpriv --reuid="$u" --regid="$u" --clear-groups --inh-caps=-all sh -c "$*" 2>&1) && echo "$u: $*: ok $out" || echo "$u: $*: $out"; }
in_group() { u=$1; g=$2; shift 2; out=$(setpriv --reuid="$u" --regid="$u" --groups="$g" --inh-caps=-all sh -c "$*" 2>&1) && echo "$u+$g: $*: ok $out" || echo "$u+$g: $*: $out"; }
show() { stat -c '%n %A %u:%g %s' "$@" 2>&1; }
umask 022
chmod 755 .

# Owner, group and others.
mkdir open; chmod 777 open
as 1001 'echo mine > open/mine; chmod 600 open/mine'
as 1001 'echo all > open/all; chmod 644 open/all'
as 1001 'echo group > open/group; chmod 640 open/group'
show open/*
as 1002 'cat open/mine'
as 1002 'cat open/all'
as 1002 'cat open/group'
in_group 1002 1001 'cat open/group'
in_group 1002 1001 'echo x >> open/group'
as 1002 'echo x > open/all'
as 1002 'echo x >> open/mine'
as 1002 'chmod 777 open/all'
as 1002 'chown 1002 open/all'
as 1001 'chown 1002 open/all'
in_group 1001 1002 'chgrp 1002 open/all'
as 1002 'touch open/all'
as 1002 'touch -d @1000000000 open/all'
as 1001 'touch -d @1000000000 open/all'
as 1002 'truncate -s 0 open/all'
as 1002 'ln -s all open/link && cat open/link'
show open/all open/link

# Directories: search, read and write.
mkdir -m 711 search; echo deep > search/f
as 1001 'ls search'
as 1001 'cat search/f'
as 1001 'echo x > search/new'
as 1001 'rm -f search/f'
mkdir -m 744 list; echo deep > list/f
as 1001 'ls list'
as 1001 'cat list/f'
mkdir -m 700 closed; mkdir closed/in; echo deep > closed/in/f
as 1001 'ls closed'
as 1001 'cat closed/in/f'
as 1001 'stat -c %a closed/in/f'
as 1001 'mkdir closed/new'
as 1001 'rmdir open/none'

# The sticky bit: only owners take names away.
mkdir -m 1777 sticky
as 1001 'echo a > sticky/a; mkdir sticky/d'
as 1002 'rm -f sticky/a'
as 1002 'mv sticky/a sticky/b'
as 1002 'rmdir sticky/d'
as 1002 'echo b > sticky/b; mv sticky/b sticky/a'
as 1002 'echo b > open/b; mv open/b sticky/a'
as 1001 'mv sticky/a sticky/c; rm sticky/c; rmdir sticky/d'
show sticky

# A directory with the setgid bit hands its group down.
mkdir shared; chgrp 2000 shared; chmod 2777 shared
as 1001 'echo a > shared/a; mkdir shared/d'
as 1001 'echo a > shared/d/a'
show shared shared/a shared/d shared/d/a
as 1001 'touch shared/s; chmod 2755 shared/s'
show shared/s

# Special bits go when somebody writes or owners change.
echo '#!/bin/sh' > suid; chmod 6777 suid
as 1001 'echo x >> suid'
show suid
chmod 6755 suid; chown 1001:1001 suid
show suid

# Executing needs the bit, and the umask counts.
printf '#!/bin/sh\necho ran\n' > open/run; chmod 644 open/run
as 1001 './open/run'
chmod 711 open/run
as 1001 'umask 077; echo x > open/private; mkdir open/pdir'
show open/private open/pdir
as 1001 'umask 002; echo x > open/team'
show open/team
umask 0; touch none; show none; umask 022

# Root is not held up.
chmod 0 open/mine; cat open/mine
chown 1002:1002 open/mine; show open/mine
as 1001 'cat open/mine'
as 1002 'chmod 400 open/mine; cat open/mine'
as 1002 'echo x > open/mine'
`

// TestPermissions wants a mount for several users to answer as local disk
// does.
func TestPermissions(t *testing.T) {
	run := func(dir string) string {
		// The test's temporary directories are closed to others.
		must(t, os.Chmod(filepath.Dir(dir), 0o755))
		cmd := exec.Command(harness.Need(t, "sh"), "-c", permissionScript)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		r := harness.Run(t, cmd)
		return r.Stdout + r.Stderr
	}
	harness.Need(t, "setpriv")
	local := t.TempDir()
	want := run(local)

	env := harness.New(t, harness.Versity)
	m := env.Mount(t, "--allow-other")
	got := run(m.Dir)
	sameLines(t, "on the mount", got, want)

	m.Restart()
	sameTree(t, "after a remount", owners(t, m.Dir), owners(t, local))
	b := env.Peer(t).Mount(t, "--allow-other")
	sameTree(t, "on the other gateway", owners(t, b.Dir), owners(t, local))
}

// owners describes all files below dir by mode and owner.
func owners(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(harness.Must(t, dir, "find", ".", "-mindepth", "1", "-printf", "%P %M %U:%G\n")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[name] = rest
	}
	return out
}

// sameLines compares two transcripts line by line.
func sameLines(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var gl, wl string
		if i < len(g) {
			gl = g[i]
		}
		if i < len(w) {
			wl = w[i]
		}
		if gl != wl {
			t.Errorf("%s:\n got %s\nwant %s", what, gl, wl)
		}
	}
}

// TestOwnerOnly wants a mount without --allow-other to keep other users out.
func TestOwnerOnly(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	write(t, m.Path("f"), "text")
	must(t, os.Chmod(filepath.Dir(m.Dir), 0o755))
	cmd := exec.Command(harness.Need(t, "setpriv"), "--reuid=1001", "--regid=1001", "--clear-groups", "cat", m.Path("f"))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if r := harness.Run(t, cmd); r.Code == 0 || !strings.Contains(r.Stderr, "Permission denied") {
		t.Errorf("another user: got %+v, want Permission denied", r)
	}
}
