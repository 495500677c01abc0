package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var writeGolden = flag.Bool("write-golden", false, "write testdata anew; only for a new version of the format")

const golden = "testdata/v1"

// TestGolden reads a journal of version 1.
func TestGolden(t *testing.T) {
	if *writeGolden {
		makeGolden(t)
	}
	entries, err := Load(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := map[ID][]byte{2: []byte("two"), 3: {}, 5: bytes.Repeat([]byte("5"), 600), 6: []byte("six")}
	sameEntries(t, want, entries)

	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	j, entries, err := Open(dir, Options{})
	if err != nil || len(j.Damage()) > 0 {
		t.Fatalf("Open: %v, %v", err, j.Damage())
	}
	sameEntries(t, want, entries)
	if ids, err := j.Append(nil, nil); err != nil || ids[0] < 7 {
		t.Errorf("Append = %v, %v", ids, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func makeGolden(t *testing.T) {
	j, _, err := Open(golden, Options{SegmentSize: minSegmentSize, passive: true, salt: func() uint64 { return 0xfedcba9876543210 }})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() ([]ID, error){
		func() ([]ID, error) { return j.Append(nil, []byte("one"), []byte("two"), nil) },
		func() ([]ID, error) { return j.Append([]ID{1}, []byte("four")) },
		func() ([]ID, error) { return nil, j.Sync() },
		func() ([]ID, error) { j.Done(4); return j.Append(nil, bytes.Repeat([]byte("5"), 600)) },
		func() ([]ID, error) { return j.Append(nil, []byte("six")) },
		func() ([]ID, error) { return nil, j.Close() },
	} {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, segmentName(1))
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p[8] = formatVersion + 1
	temp := filepath.Join(dir, "0000000000000009"+suffixTemp)
	if err := errors.Join(os.WriteFile(name, p, 0o600), os.WriteFile(temp, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	if _, _, err := Open(dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Errorf("Open = %v", err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrNewer) {
		t.Errorf("Load = %v", err)
	}
	if got := snapshot(t, dir); got != before {
		t.Error("Open changed the files of a newer version")
	}
}

func TestLoadOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if entries, err := Load(dir); len(entries) > 0 || err != nil {
		t.Errorf("Load = %v, %v", entries, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("Load made the directory")
	}
}

// snapshot returns the names and bytes of a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	names, err := os.ReadDir(dir)
	for _, e := range names {
		p, rerr := os.ReadFile(filepath.Join(dir, e.Name()))
		err = errors.Join(err, rerr)
		b.WriteString(e.Name() + "\n" + string(p))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzSegment reads any bytes as a segment: nothing that does not check comes
// out of it, and nothing panics.
func FuzzSegment(f *testing.F) {
	for n := range 2 {
		p, err := os.ReadFile(filepath.Join(golden, segmentName(uint64(n+1))))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p, uint64(n+1))
		f.Add(p[:len(p)/2], uint64(n+1))
	}
	f.Fuzz(func(t *testing.T, p []byte, number uint64) {
		h, err := decodeHeader(p, number)
		if err != nil { // try the records all the same
			h = header{number: number, salt: 0xfedcba9876543210}
		}
		if len(p) < headerSize {
			return
		}
		end := h.records(p, func(r record) {
			if !checks(p, h, r.off) {
				t.Errorf("a record at %d does not check", r.off)
			}
			items(r.payload, func(it item) {
				if !it.done && !bytes.Equal(r.payload[it.at:it.at+len(it.body)], it.body) {
					t.Error("a body is not where it is said to be")
				}
			})
		})
		if end > int64(len(p))+recordAlign {
			t.Errorf("the end is %d of %d", end, len(p))
		}
		h.lostBehind(p, end)
		items(p, func(item) {})
	})
}

// checks computes the checksum of a record as the package doc says.
func checks(p []byte, h header, off int64) bool {
	length := binary.LittleEndian.Uint32(p[off:])
	var q []byte
	q = binary.LittleEndian.AppendUint64(q, h.number)
	q = binary.LittleEndian.AppendUint64(q, h.salt)
	q = binary.LittleEndian.AppendUint64(q, uint64(off))
	q = binary.LittleEndian.AppendUint32(q, length)
	q = append(q, p[off+8:off+16+int64(length)]...)
	return crc32.Checksum(q, crc32.MakeTable(crc32.Castagnoli)) == binary.LittleEndian.Uint32(p[off+4:])
}
