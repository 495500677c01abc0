package swamp

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a datastore below a directory. It has no state of its own.
type Store struct {
	Root      string // the datastore's directory
	Namespace string // may be empty
}

// subdirs are what a datastore has from the start.
var subdirs = []string{
	"data", "outputs", "workflow-runs", "definitions-evaluated", "auto-definitions",
	"workflows-evaluated", "audit", "telemetry", "logs", "files",
}

func (s *Store) base() string { return filepath.Join(s.Root, s.Namespace) }

func (s *Store) model(model string) string { return filepath.Join(s.base(), "data", model) }

func (s *Store) data(model, name string) string { return filepath.Join(s.model(model), name) }

// Raw is the path of a version's payload.
func (s *Store) Raw(model, name string, version int) string {
	return filepath.Join(s.data(model, name), strconv.Itoa(version), "raw")
}

func (s *Store) globalLock() string {
	if s.Namespace == "" {
		return filepath.Join(s.Root, ".datastore.lock")
	}
	return filepath.Join(s.Root, ".locks", s.Namespace+".lock")
}

// Setup makes the datastore's directories and checks that it can write.
func (s *Store) Setup() error {
	probe := filepath.Join(s.Root, ".swamp-health-check-"+uuid())
	if err := writeFile(probe, unix.O_CREAT|unix.O_TRUNC, []byte("ok")); err != nil {
		return err
	}
	if err := unlink(probe); err != nil {
		return err
	}
	for _, d := range subdirs {
		if err := mkdirAll(filepath.Join(s.base(), d)); err != nil {
			return err
		}
	}
	if s.Namespace == "" {
		return nil
	}
	return s.register()
}

// register writes the namespace's manifest, in place.
func (s *Store) register() error {
	text := fmt.Sprintf(`{"namespace":%q,"repoId":%q,"registeredAt":%q}`, s.Namespace, uuid(), time.Now().UTC().Format(time.RFC3339Nano))
	return writeFile(filepath.Join(s.base(), ".namespace.json"), unix.O_CREAT|unix.O_TRUNC, []byte(text))
}

// mkdirAll makes a directory and its parents with as few calls as swamp's
// runtime: the innermost first.
func mkdirAll(path string) error {
	err := mkdir(path)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	if err := mkdir(path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// claim takes the next version number of a data name: the first whose
// directory this call makes.
func (s *Store) claim(dir string) (version int, err error) {
	if err := mkdirAll(dir); err != nil {
		return 0, err
	}
	newest, err := newestVersion(dir)
	if err != nil {
		return 0, err
	}
	for version = newest + 1; ; version++ {
		err := mkdir(filepath.Join(dir, strconv.Itoa(version)))
		if err == nil {
			return version, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
}

// newestVersion is the largest number among a data name's directories, or 0.
func newestVersion(dir string) (newest int, err error) {
	entries, err := listDir(dir)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.name); err == nil && e.kind == unix.DT_DIR {
			newest = max(newest, n)
		}
	}
	return newest, err
}

// Save stores a payload as a new version and points latest at it. It returns
// the version. The caller may or may not hold the model's lock: no two saves
// get the same version either way.
func (s *Store) Save(model, name string, payload []byte) (version int, err error) {
	dir := s.data(model, name)
	if _, err := RealPath(filepath.Join(dir, "latest")); err != nil {
		return 0, err
	}
	os.ReadFile(filepath.Join(dir, "latest"))
	version, err = s.claim(dir)
	if err != nil {
		return 0, err
	}
	if err := s.saveMetadata(model, name, version, payload, false); err != nil {
		return version, err
	}
	raw := s.Raw(model, name, version)
	if _, err := RealPath(raw); err != nil {
		return version, err
	}
	if err := saveFile(raw, payload); err != nil {
		return version, err
	}
	return version, s.point(dir, version)
}

// saveMetadata writes a version's description, always before its payload.
func (s *Store) saveMetadata(model, name string, version int, payload []byte, streaming bool) error {
	sum := sha256.Sum256(payload)
	text := fmt.Sprintf(`id: %s
name: %s
version: %d
contentType: application/json
lifetime: infinite
garbageCollection: 10
streaming: %t
tags:
  type: resource
  specName: result
  modelName: %s
  initiatedBy: method
ownerDefinition:
  ownerType: model-method
  ownerRef: %s
createdAt: %s
size: %d
checksum: %s
`, uuid(), name, version, streaming, model, model, time.Now().UTC().Format(time.RFC3339Nano), len(payload), hex.EncodeToString(sum[:]))
	return saveFile(filepath.Join(s.data(model, name), strconv.Itoa(version), "metadata.yaml"), []byte(text))
}

// point makes latest name a version: what was there is unlinked first.
func (s *Store) point(dir string, version int) error {
	latest := filepath.Join(dir, "latest")
	if err := unlink(latest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return saveFile(latest, []byte(strconv.Itoa(version)))
}

// Latest returns the newest version of a data name: what latest says or, in
// the moment in which there is none, what the directories say.
func (s *Store) Latest(model, name string) (int, error) {
	dir := s.data(model, name)
	b, err := os.ReadFile(filepath.Join(dir, "latest"))
	if errors.Is(err, fs.ErrNotExist) {
		return newestVersion(dir)
	}
	if err != nil {
		return 0, err
	}
	version, err := strconv.Atoi(string(b))
	if err != nil {
		return 0, fmt.Errorf("latest of %s/%s: %w", model, name, err)
	}
	return version, nil
}

// Load returns a version's payload, checked against its description.
func (s *Store) Load(model, name string, version int) ([]byte, error) {
	raw := s.Raw(model, name, version)
	meta, err := os.ReadFile(filepath.Join(filepath.Dir(raw), "metadata.yaml"))
	if err != nil {
		return nil, err
	}
	payload, err := os.ReadFile(raw)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	if !strings.Contains(string(meta), "streaming: true") && !strings.Contains(string(meta), "checksum: "+hex.EncodeToString(sum[:])) {
		return nil, fmt.Errorf("%s: %d bytes do not match the checksum in\n%s", raw, len(payload), meta)
	}
	return payload, nil
}

// SaveOutput writes the record of one method run.
func (s *Store) SaveOutput(model, method string, text []byte) error {
	dir := filepath.Join(s.base(), "outputs", filepath.Dir(model), method)
	if err := mkdirAll(dir); err != nil {
		return err
	}
	stamp := time.Now().UTC().Format("2006-01-02T15-04-05.000000000Z")
	return saveFile(filepath.Join(dir, filepath.Base(model)+"-"+stamp+".yaml"), text)
}

// StreamLines stores lines as a new version: the file is opened for every
// line, appended to and closed again.
func (s *Store) StreamLines(model, name string, lines []string) (version int, err error) {
	version, err = s.claim(s.data(model, name))
	if err != nil {
		return 0, err
	}
	if err := s.saveMetadata(model, name, version, nil, true); err != nil {
		return version, err
	}
	raw := s.Raw(model, name, version)
	if err := writeFile(raw, unix.O_CREAT|unix.O_TRUNC, nil); err != nil {
		return version, err
	}
	for _, line := range lines {
		if err := writeFile(raw, unix.O_APPEND, []byte(line+"\n")); err != nil {
			return version, err
		}
	}
	return version, s.point(s.data(model, name), version)
}

// StreamBytes stores a payload as a new version through one descriptor, in
// writes of 64 KiB, in place.
func (s *Store) StreamBytes(model, name string, payload []byte) (version int, err error) {
	version, err = s.claim(s.data(model, name))
	if err != nil {
		return 0, err
	}
	if err := s.saveMetadata(model, name, version, payload, false); err != nil {
		return version, err
	}
	raw := s.Raw(model, name, version)
	fd, err := open(raw, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o666)
	if err != nil {
		return version, err
	}
	for rest := payload; len(rest) > 0 && err == nil; {
		n := min(len(rest), 64<<10)
		err = writeDup(fd, raw, rest[:n])
		rest = rest[n:]
	}
	if err := errors.Join(err, closeFD(fd, raw)); err != nil {
		return version, err
	}
	return version, s.point(s.data(model, name), version)
}

// HandOut makes a new version whose payload another program writes: dd, with
// an fsync at its end, copies the file from there.
func (s *Store) HandOut(model, name, from string) (version int, err error) {
	version, err = s.claim(s.data(model, name))
	if err != nil {
		return 0, err
	}
	if err := s.saveMetadata(model, name, version, nil, true); err != nil {
		return version, err
	}
	out, err := exec.Command("dd", "if="+from, "of="+s.Raw(model, name, version), "bs=64k", "conv=fsync", "status=none").CombinedOutput()
	if err != nil {
		return version, fmt.Errorf("dd: %w: %s", err, out)
	}
	return version, s.point(s.data(model, name), version)
}

// Migrate moves a datastore without a namespace into one, by renaming its
// directories one by one.
func (s *Store) Migrate(namespace string) error {
	to := &Store{Root: s.Root, Namespace: namespace}
	if err := mkdirAll(to.base()); err != nil {
		return err
	}
	if err := to.register(); err != nil {
		return err
	}
	for _, d := range subdirs {
		from, dest := filepath.Join(s.Root, d), filepath.Join(to.base(), d)
		if err := again(func() error { return unix.Rename(from, dest) }); err != nil {
			return pathError("rename", from, err)
		}
	}
	*s = *to
	return nil
}
