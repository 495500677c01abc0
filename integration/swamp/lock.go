package swamp

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockRecord is what a lock file holds.
type lockRecord struct {
	Holder     string    `json:"holder"`
	Hostname   string    `json:"hostname"`
	PID        int       `json:"pid"`
	AcquiredAt time.Time `json:"acquiredAt"`
	TTLMillis  int       `json:"ttlMs"`
	Nonce      string    `json:"nonce"`
}

// Lock is a lock file that this process has created.
type Lock struct {
	path string
	rec  lockRecord
}

// uuid returns a random UUID.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// acquire makes the lock file, trying every poll until ctx ends. Unlike
// swamp's own it never takes a lock over.
func acquire(ctx context.Context, path string, poll time.Duration) (*Lock, error) {
	host, _ := os.Hostname()
	l := &Lock{path, lockRecord{"test@" + host, host, os.Getpid(), time.Now().UTC(), 30000, uuid()}}
	for {
		// Created first and written then: an empty lock can be seen.
		fd, err := open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o666)
		if err == nil {
			l.rec.AcquiredAt = time.Now().UTC()
			return l, errors.Join(writeDup(fd, path, l.text()), closeFD(fd, path))
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		os.ReadFile(path) // a waiter looks at who holds it
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock: %w", ctx.Err())
		case <-time.After(poll):
		}
	}
}

func (l *Lock) text() []byte {
	b, _ := json.MarshalIndent(l.rec, "", "  ")
	return b
}

// Heartbeat rewrites the lock file in place, as its holder does every 10 s.
func (l *Lock) Heartbeat() error {
	l.rec.AcquiredAt = time.Now().UTC()
	return writeFile(l.path, unix.O_TRUNC, l.text())
}

// Release removes the lock file, after a look whether it is still ours.
func (l *Lock) Release() error {
	b, err := os.ReadFile(l.path)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	var rec lockRecord
	if err := json.Unmarshal(b, &rec); err != nil {
		return fmt.Errorf("release %s: %w in %q", l.path, err, b)
	}
	if rec.Nonce != l.rec.Nonce {
		return fmt.Errorf("release %s: held by %s, pid %d", l.path, rec.Holder, rec.PID)
	}
	return unlink(l.path)
}

// LockModel takes a model's lock. It reads the global one first and again
// after, as swamp does.
func (s *Store) LockModel(ctx context.Context, model string, poll time.Duration) (*Lock, error) {
	os.ReadFile(s.globalLock())
	if err := mkdirAll(s.model(model)); err != nil {
		return nil, err
	}
	l, err := acquire(ctx, filepath.Join(s.model(model), ".lock"), poll)
	os.ReadFile(s.globalLock())
	return l, err
}

// LockAll takes the global lock.
func (s *Store) LockAll(ctx context.Context, poll time.Duration) (*Lock, error) {
	if err := mkdirAll(filepath.Dir(s.globalLock())); err != nil {
		return nil, err
	}
	return acquire(ctx, s.globalLock(), poll)
}

// WalkLocks returns the lock files anywhere below the root. It trusts the
// types that directories give and calls stat on nothing.
func (s *Store) WalkLocks() (locks []string, err error) {
	dirs := []string{s.Root}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		entries, err := listDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was seen
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.name)
			switch {
			case e.kind == unix.DT_DIR:
				dirs = append(dirs, path)
			case e.kind != unix.DT_REG:
				return nil, fmt.Errorf("%s has type %d in its directory, want a file or a directory", path, e.kind)
			case filepath.Ext(e.name) == ".lock":
				locks = append(locks, path)
			}
		}
	}
	return locks, nil
}
