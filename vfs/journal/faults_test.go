package journal

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var errNoSpace error = syscall.ENOSPC

func TestNoSpaceForSegment(t *testing.T) {
	d := newDisk()
	h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
	h.j, _ = open(t, d)
	h.append(nil, "first")
	h.sync()
	for _, op := range []string{"create", "allocate", "write", "sync", "syncdir"} {
		armed := false
		d.step = func(got, name string) error {
			if got == "create" {
				armed = true
			}
			d.cuts(true, func(d *disk) { h.check(d, false) })
			if armed && got == op {
				armed = false
				return errNoSpace
			}
			return nil
		}
		large := make([]byte, minSegmentSize-200)
		if _, err := h.j.Append(nil, large, large); !errors.Is(err, errNoSpace) {
			t.Fatalf("%s: Append = %v, want no space", op, err)
		}
		d.step = nil
		h.append(nil, "small still fits")
		h.sync()
		h.check(after(d.names, nil, nil), false)
	}
	h.append(nil, strings.Repeat("x", minSegmentSize))
	h.sync()
	d.cuts(false, func(d *disk) { h.check(d, false) })
}

func TestNoSpaceForRecords(t *testing.T) {
	d := newDisk()
	h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
	h.j, _ = open(t, d)
	h.append(nil, "first")
	h.sync()
	ids := h.append(nil, "second")
	d.step = func(op, _ string) error {
		if op == "write" {
			return errNoSpace
		}
		return nil
	}
	if err := h.j.Sync(); !errors.Is(err, errNoSpace) {
		t.Fatalf("Sync = %v, want no space", err)
	}
	if _, err := h.j.Append(nil, []byte("third")); !errors.Is(err, errNoSpace) {
		t.Fatalf("Append = %v, want no space", err)
	}
	if p, err := h.j.Read(ids[0]); string(p) != "second" || err != nil {
		t.Fatalf("Read = %q, %v", p, err)
	}
	d.step = nil
	h.append(nil, "fourth")
	h.sync()
	d.cuts(false, func(d *disk) { h.check(d, false) })
}

func TestFailureIsFinal(t *testing.T) {
	broken := errors.New("broken disk")
	for _, op := range []string{"write", "sync"} {
		d := newDisk()
		j, _ := open(t, d)
		if _, err := j.Append(nil, []byte("a")); err != nil {
			t.Fatal(err)
		}
		d.step = func(got, _ string) error {
			if got == op {
				return broken
			}
			return nil
		}
		if err := j.Sync(); !errors.Is(err, broken) {
			t.Fatalf("%s: Sync = %v", op, err)
		}
		d.step = nil
		if err := j.Sync(); !errors.Is(err, broken) {
			t.Errorf("%s: second Sync = %v", op, err)
		}
		if _, err := j.Append(nil, []byte("b")); !errors.Is(err, broken) {
			t.Errorf("%s: Append = %v", op, err)
		}
		j.Done(1)
		if err := j.clean(); !errors.Is(err, broken) {
			t.Errorf("%s: clean = %v", op, err)
		}
		if err := j.Close(); !errors.Is(err, broken) {
			t.Errorf("%s: Close = %v", op, err)
		}
	}
}

// TestBackground has what nobody waits for written after a while, and ended by
// Close: a goroutine that is left fails the test.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		opts := testOptions(d)
		opts.passive = false
		delays := make(chan time.Duration, 10)
		now := make(chan time.Time)
		opts.after = func(d time.Duration) <-chan time.Time { delays <- d; return now }
		j, _, err := Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		now <- time.Time{} // for what Open may have left to clean
		ids, err := j.Append(nil, []byte("a"), []byte("b"))
		if err != nil {
			t.Fatal(err)
		}
		j.Done(ids[0])
		synctest.Wait()
		if st := j.Stats(); st.Syncs != 0 || st.Live != 1 {
			t.Errorf("before the delay: %+v", st)
		}
		now <- time.Time{}
		synctest.Wait()
		if st := j.Stats(); st.Syncs != 1 || st.Records != 2 {
			t.Errorf("after the delay: %+v", st)
		}
		_, entries := open(t, d)
		if len(entries) != 1 || entries[0].ID != ids[1] {
			t.Errorf("live: %v, want only b", entries)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if d := <-delays; d != lazyDelay {
			t.Errorf("the delay is %v", d)
		}
		if err := j.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("second Close = %v", err)
		}
	})
}
