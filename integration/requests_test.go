//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// want is a count of requests by operation.
type want map[string]int

// costs is a table of what operations may ask of S3, on one gateway that knows
// the directory.
var costs = []struct {
	name    string
	prepare func(t *testing.T, dir string)
	do      func(t *testing.T, dir string)
	want    want
}{
	{
		name: "new file",
		do:   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "new empty file",
		do:   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "") },
		want: want{s3proxy.PutObject: 1},
	}, {
		name:    "overwrite",
		prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		do:      func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "other text") },
		want:    want{s3proxy.PutObject: 1},
	}, {
		name: "save through a temporary name",
		do: func(t *testing.T, dir string) {
			tmp := filepath.Join(dir, ".6f9619ff-8b86-d011-b42d-00c04fc964ff.tmp")
			write(t, tmp, "text")
			must(t, os.Rename(tmp, filepath.Join(dir, "f")))
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name:    "save over a file through a temporary name",
		prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		do: func(t *testing.T, dir string) {
			tmp := filepath.Join(dir, "f~")
			write(t, tmp, "other text")
			must(t, os.Rename(tmp, filepath.Join(dir, "f")))
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "temporary file that is removed",
		do: func(t *testing.T, dir string) {
			tmp := filepath.Join(dir, "x.tmp")
			write(t, tmp, "text")
			must(t, os.Remove(tmp))
		},
		want: want{},
	}, {
		name: "mkdir",
		do:   func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755)) },
		want: want{},
	}, {
		name: "exclusive create, write, close",
		do: func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			must(t, err)
			_, err = f.WriteString("mine")
			must(t, err)
			must(t, f.Close())
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "descriptor closed twice",
		do: func(t *testing.T, dir string) {
			fd, err := unix.Open(filepath.Join(dir, "f"), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
			must(t, err)
			dup, err := unix.Dup(fd)
			must(t, err)
			_, err = unix.Write(dup, []byte("text"))
			must(t, err)
			must(t, unix.Close(dup))
			must(t, unix.Close(fd))
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "write, fsync, close",
		do: func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, "f"))
			must(t, err)
			_, err = f.WriteString("text")
			must(t, err)
			must(t, f.Sync())
			must(t, f.Close())
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "attributes before close",
		do: func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, "f"))
			must(t, err)
			_, err = f.WriteString("text")
			must(t, err)
			must(t, f.Chmod(0o751))
			must(t, f.Chown(os.Getuid(), os.Getgid()))
			must(t, os.Chtimes(f.Name(), time.Unix(1e9, 0), time.Unix(1e9, 5000)))
			must(t, unix.Fsetxattr(int(f.Fd()), "user.key", []byte("value"), 0))
			must(t, f.Close())
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name: "cp -a, which creates exclusively",
		do: func(t *testing.T, dir string) {
			from := filepath.Join(t.TempDir(), "f")
			write(t, from, "text")
			must(t, os.Chmod(from, 0o751))
			must(t, os.Chtimes(from, time.Unix(1e9, 0), time.Unix(1e9, 5000)))
			harness.Must(t, dir, "cp", "-a", from, "f")
		},
		want: want{s3proxy.PutObject: 1},
	}, {
		name:    "chmod and times of a file",
		prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		do: func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, "f"), 0o600))
			must(t, os.Chtimes(filepath.Join(dir, "f"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
		},
		want: want{s3proxy.CopyObject: 1},
	}, {
		name:    "open and read an unchanged cached file",
		prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		do:      func(t *testing.T, dir string) { read(t, filepath.Join(dir, "f"), "text") },
		want:    want{s3proxy.GetObject: 1},
	}, {
		name:    "stat, list, walk",
		prepare: func(t *testing.T, dir string) { makeFiles(t, dir, 20) },
		do:      func(t *testing.T, dir string) { snapshot(t, dir) },
		want:    want{},
	}, {
		name: "remove a file",
		prepare: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "f"), "text")
			write(t, filepath.Join(dir, "g"), "text") // the last one to go would leave a marker
		},
		do:   func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "f"))) },
		want: want{s3proxy.DeleteObject: 1},
	}, {
		name:    "rename a file that is in S3",
		prepare: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "f"), "text") },
		do: func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
		},
		want: want{s3proxy.CopyObject: 1, s3proxy.DeleteObject: 1},
	}, {
		name: "64 saves at the same time",
		do: func(t *testing.T, dir string) {
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					tmp := filepath.Join(dir, fmt.Sprintf(".%d.tmp", i))
					if err := os.WriteFile(tmp, []byte("text"), 0o644); err != nil {
						t.Error(err)
					}
					if err := os.Rename(tmp, filepath.Join(dir, strconv.Itoa(i))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		},
		want: want{s3proxy.PutObject: 64},
	},
}

// makeFiles makes n files in dir.
func makeFiles(t *testing.T, dir string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d", i)), []byte("text"), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRequestsPerOperation(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		// A long TTL, since requests are counted and not time.
		m := env.Mount(t, "--dir-ttl", "1h", "--verify", "1h")
		for i, c := range costs {
			t.Run(c.name, func(t *testing.T) {
				dir := m.Path(fmt.Sprint("case", i))
				must(t, os.Mkdir(dir, 0o755))
				if c.prepare != nil {
					c.prepare(t, dir)
				}
				syncDir(t, dir)
				names(t, dir) // from here on the directory is known
				got := env.Requests(t, func() { c.do(t, dir) })
				if counts(got) != counts(c.want) {
					t.Errorf("got %s, want %s\n%s", counts(got), counts(c.want), env.Proxy.Stats())
				}
			})
		}
	})
}

// TestRequestsOfReading counts what a gateway asks that did not write the
// file.
func TestRequestsOfReading(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		env.Put(t, "d/small", pattern(1, 1<<20), nil)
		m := env.Mount(t, "--dir-ttl", "1h", "--verify", "1h")
		names(t, m.Path("d"))
		got := env.Requests(t, func() { sameFile(t, m.Path("d/small"), pattern(1, 1<<20)) })
		if counts(got) != "GetObject 1" {
			t.Errorf("first read: got %s, want GetObject 1\n%s", counts(got), env.Proxy.Stats())
		}
		got = env.Requests(t, func() { sameFile(t, m.Path("d/small"), pattern(1, 1<<20)) })
		if counts(got) != "GetObject 1" {
			t.Errorf("second read: got %s, want GetObject 1\n%s", counts(got), env.Proxy.Stats())
		}
		if down := env.Proxy.Stats().Ops[s3proxy.GetObject].Down; down != 0 {
			t.Errorf("second read transferred %d bytes, want none: the request is conditional", down)
		}
	})
}

// TestRequestsOfOpenTTL opens a known file within --open-ttl.
func TestRequestsOfOpenTTL(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t, "--dir-ttl", "1h", "--open-ttl", "1h", "--verify", "1h")
	write(t, m.Path("f"), "text")
	read(t, m.Path("f"), "text")
	if got := env.Requests(t, func() { read(t, m.Path("f"), "text") }); counts(got) != "none" {
		t.Errorf("got %s, want none", counts(got))
	}
}

func TestRequestsOfRemovingTree(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		m := env.Mount(t, "--dir-ttl", "1h", "--verify", "1h")
		must(t, os.Mkdir(m.Path("d"), 0o755))
		makeFiles(t, m.Path("d"), 1000)
		names(t, m.Path("d"))
		got := env.Requests(t, func() { harness.Must(t, m.Dir, "rm", "-r", "d") })
		total := 0
		for _, n := range got {
			total += n
		}
		if total > 5 {
			t.Errorf("rm -r of 1000 files: got %d requests (%s), want at most 5\n%s", total, counts(got), env.Proxy.Stats())
		}
		if left := env.List(t, "d"); len(left) > 0 {
			t.Errorf("%d objects left, such as %s", len(left), left[0].Key)
		}
	})
}

// TestRequestsOfLargeFile writes a file of several parts.
func TestRequestsOfLargeFile(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		m := env.Mount(t)
		data := pattern(2, 40<<20)
		write(t, m.Path("first"), "the first change also makes the mount known to others")
		names(t, m.Dir)
		got := env.Requests(t, func() { must(t, os.WriteFile(m.Path("large"), data, 0o644)) })
		parts := got[s3proxy.UploadPart]
		delete(got, s3proxy.UploadPart)
		if counts(got) != "CompleteMultipartUpload 1, CreateMultipartUpload 1" || parts < 2 || parts > 8 {
			t.Errorf("got %s and %d parts, want one upload of 2 to 8 parts\n%s", counts(got), parts, env.Proxy.Stats())
		}
		if up := env.Proxy.Stats().Ops[s3proxy.UploadPart].Up; up < 40<<20 || up > 42<<20 {
			t.Errorf("%d bytes sent for a file of %d", up, 40<<20)
		}
		sameFile(t, m.Path("large"), data)
	})
}

// TestRequestsOfEdit changes a byte of a large object: the rest is copied on
// the server.
func TestRequestsOfEdit(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		data := pattern(3, 96<<20)
		env.Put(t, "large", data, nil)
		m := env.Mount(t)
		names(t, m.Dir)
		got := env.Requests(t, func() {
			f, err := os.OpenFile(m.Path("large"), os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt([]byte{data[48<<20] ^ 0xff}, 48<<20)
			must(t, err)
			must(t, f.Close())
		})
		up, _ := env.Proxy.Stats().Bytes()
		if up >= 20<<20 || got[s3proxy.UploadPartCopy] == 0 {
			t.Errorf("got %d bytes up and %s, want less than 20 MiB and UploadPartCopy\n%s", up, counts(got), env.Proxy.Stats())
		}
		data[48<<20] ^= 0xff
		if o := env.Get(t, "large"); string(o.Body) != string(data) {
			t.Error("the object is not the edited file")
		}
	})
}

// TestIdleRequests counts what a mount asks when nobody uses it, and that
// what it asks while it is used keeps to one request of its own per TTL.
func TestIdleRequests(t *testing.T) {
	env := harness.New(t, harness.Versity)
	const ttl = 500 * time.Millisecond
	m := env.Mount(t, "--dir-ttl", ttl.String(), "--verify", "1h")
	write(t, m.Path("f"), "text")
	env.Quiesce(t)

	env.Proxy.Reset()
	begin := time.Now()
	for time.Since(begin) < 6*ttl {
		if _, err := os.Stat(m.Path("f")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ttl / 10)
	}
	stats := env.Proxy.Stats()
	// The lease is renewed all the time, and given up after a minute without use.
	lease := func(_, key string) bool { return strings.Contains("/"+key, "/.causeway/locks/s/") }
	own := total(stats.Without(lease)) - total(stats.Without(harness.Background))
	if limit := int(time.Since(begin)/ttl) + 1; own > limit {
		t.Errorf("in use: %d requests of its own in %v, want at most %d\n%s", own, time.Since(begin), limit, stats)
	}

	time.Sleep(4 * ttl) // the last use is past
	env.Proxy.Reset()
	time.Sleep(6 * ttl)
	if n := total(env.Proxy.Stats().Without(lease)); n != 0 {
		t.Errorf("not in use: %d requests, want none\n%s", n, env.Proxy.Stats())
	}
}

func total(m map[string]int) (n int) {
	for _, c := range m {
		n += c
	}
	return n
}

// TestSequentialReadAsksForNothingTwice reads a large file in small pieces.
func TestSequentialReadAsksForNothingTwice(t *testing.T) {
	env := harness.New(t, harness.Versity)
	const size = 64 << 20
	env.Put(t, "large", pattern(4, size), nil)
	m := env.Mount(t)
	names(t, m.Dir)
	env.Requests(t, func() {
		f, err := os.Open(m.Path("large"))
		must(t, err)
		defer f.Close()
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{f}, make([]byte, 4096))
		if err != nil || n != size {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
	if _, down := env.Proxy.Stats().Bytes(); down < size || down > size*11/10 {
		t.Errorf("%d bytes came for a file of %d\n%s", down, size, env.Proxy.Stats())
	}
}

// syncDir returns when all that was acknowledged is in S3.
func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	must(t, err)
	must(t, errors.Join(d.Sync(), d.Close()))
}
