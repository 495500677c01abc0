package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// TestModel does random things to a journal on disk and to a map.
func TestModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 0)), 1500) })
	}
}

func runModel(t *testing.T, r *rand.Rand, ops int) {
	dir := t.TempDir()
	opts := Options{SegmentSize: 16 << 10, MaxBytes: 4 << 20, passive: true}
	j, entries, err := Open(dir, opts)
	if err != nil || len(entries) > 0 {
		t.Fatalf("Open = %v, %v", entries, err)
	}
	live, last := map[ID][]byte{}, ID(0)
	counts := map[string]int{}
	some := func(n int) []ID {
		ids := slices.Sorted(maps.Keys(live))
		r.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
		return ids[:min(n, len(ids))]
	}
	for range ops {
		switch k := r.IntN(100); {
		case k < 50:
			counts["append"]++
			done, add := some(r.IntN(4)), make([][]byte, r.IntN(4))
			for i := range add {
				add[i] = bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(3000)*r.IntN(2)*(1+r.IntN(2)*r.IntN(2)*9))
			}
			ids, err := j.Append(done, add...)
			if err != nil || len(ids) != len(add) {
				t.Fatalf("Append = %v, %v", ids, err)
			}
			for _, id := range done {
				delete(live, id)
			}
			for i, id := range ids {
				if id <= last {
					t.Fatalf("ID %d after %d", id, last)
				}
				live[id], last = add[i], id
			}
		case k < 65:
			counts["done"]++
			ids := some(r.IntN(8))
			j.Done(append(ids, last+100)...)
			for _, id := range ids {
				delete(live, id)
			}
		case k < 80:
			counts["sync"]++
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		case k < 90:
			counts["clean"]++
			if err := j.clean(); err != nil {
				t.Fatal(err)
			}
		case k < 97:
			counts["read"]++
			for _, id := range some(5) {
				if p, err := j.Read(id); err != nil || !bytes.Equal(p, live[id]) {
					t.Fatalf("Read(%d) = %d bytes, %v, want %d", id, len(p), err, len(live[id]))
				}
			}
			if _, err := j.Read(last + 1); !errors.Is(err, ErrNotLive) {
				t.Fatalf("Read of none = %v", err)
			}
		default:
			counts["reopen"]++
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if j, entries, err = Open(dir, opts); err != nil || len(j.Damage()) > 0 {
				t.Fatalf("Open: %v, damage %v", err, j.Damage())
			}
			sameEntries(t, live, entries)
			sameEntries(t, live, loaded)
		}
		st := j.Stats()
		if st.Live != len(live) {
			t.Fatalf("%+v, want %d live", st, len(live))
		}
	}
	for _, op := range []string{"append", "done", "sync", "clean", "read", "reopen"} {
		if counts[op] < ops/100 {
			t.Errorf("%s: only %d times", op, counts[op])
		}
	}
	if err := j.clean(); err != nil {
		t.Fatal(err)
	}
	if st := j.Stats(); st.TotalBytes > 2*st.LiveBytes+(slackSegments+1)*opts.SegmentSize {
		t.Errorf("not bounded: %+v", st)
	}
	j.Done(slices.Collect(maps.Keys(live))...)
	if err := errors.Join(j.clean(), j.Close()); err != nil || j.Stats().Segments != 1 {
		t.Errorf("in the end: %+v, %v", j.Stats(), err)
	}
}

func sameEntries(t *testing.T, live map[ID][]byte, entries []Entry) {
	t.Helper()
	if len(entries) != len(live) {
		t.Fatalf("%d live, want %d", len(entries), len(live))
	}
	for i, e := range entries {
		if want, ok := live[e.ID]; !ok || !bytes.Equal(e.Body, want) || i > 0 && entries[i-1].ID >= e.ID {
			t.Fatalf("entry %d: ID %d with %d bytes, want %d", i, e.ID, len(e.Body), len(want))
		}
	}
}

// TestConcurrent has users that append, sync, read and end beside the cleaning
// in the background.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	opts := Options{SegmentSize: 8 << 10, MaxBytes: 1 << 20}
	j, _, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	left := make([]map[ID][]byte, 4)
	for n := range left {
		left[n] = map[ID][]byte{}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range 300 {
				body := bytes.Repeat([]byte{byte(n)}, r.IntN(2000))
				ids, err := j.Append(nil, body, []byte("short"))
				if err == nil {
					err = j.Sync()
				}
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				if p, err := j.Read(ids[0]); err != nil || !bytes.Equal(p, body) {
					t.Errorf("Read = %d bytes, %v", len(p), err)
				}
				j.Done(ids[1])
				if i%30 == 0 {
					left[n][ids[0]] = body
				} else if _, err := j.Append(ids[:1]); err != nil {
					t.Errorf("end: %v", err)
				}
			}
		})
	}
	wg.Wait()
	st := j.Stats()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("Sync after Close = %v", err)
	}
	want := map[ID][]byte{}
	for _, l := range left {
		maps.Copy(want, l)
	}
	entries, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	sameEntries(t, want, entries)
	t.Logf("%+v", st)
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	j, _, err := Open(dir, Options{SegmentSize: 4 << 10, MaxBytes: 32 << 10, passive: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids []ID
	for {
		id, err := j.Append(nil, make([]byte, 1000))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || len(ids) > 100 {
			t.Fatalf("Append = %v after %d", err, len(ids))
		}
		ids = append(ids, id...)
	}
	if st := j.Stats(); st.TotalBytes > 32<<10 || len(ids) < 20 {
		t.Errorf("full with %d: %+v", len(ids), st)
	}
	if _, err := j.Append(ids[:len(ids)/2]); err != nil {
		t.Fatalf("ending intents of a full journal: %v", err)
	}
	if _, err := j.Append(nil, make([]byte, 1000)); err != nil {
		t.Fatalf("Append when half has ended: %v", err)
	}
	j.Done(ids...)
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.clean(), j.Close()); err != nil || j.Stats().Segments != 1 {
		t.Errorf("in the end: %+v, %v", j.Stats(), err)
	}
}

// TestManyOpens has the files of many short lives merged.
func TestManyOpens(t *testing.T) {
	dir := t.TempDir()
	for n := range 100 {
		j, entries, err := Open(dir, Options{passive: true})
		if err != nil || len(entries) != n {
			t.Fatalf("open %d: %d live, %v", n, len(entries), err)
		}
		if _, err := j.Append(nil, []byte("stays")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.clean(), j.Close()); err != nil {
			t.Fatal(err)
		}
		if st := j.Stats(); st.Segments > maxShort+3 {
			t.Fatalf("open %d: %+v", n, st)
		}
	}
}
