package fuse

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// fill makes n files and forgets them; it opens the root.
func fill(t *testing.T, b *bridge, f *fakeFS, n int) (fh uint64) {
	t.Helper()
	for i := range n {
		node, h := create(t, b, fmt.Sprintf("file%03d", i), syscall.O_RDWR)
		b.Release(nil, &raw.ReleaseIn{Fh: h})
		b.Forget(node, 1)
	}
	var out raw.OpenOut
	if st := b.OpenDir(nil, &raw.OpenIn{InHeader: root()}, &out); st != raw.OK {
		t.Fatal(st)
	}
	return out.Fh
}

// TestReadDirPlusReferences lists a directory into buffers of many sizes, as
// a kernel that takes a reference for each entry it gets with attributes.
func TestReadDirPlusReferences(t *testing.T) {
	for size := 300; size < 1200; size += 37 {
		b, f := openTest(t)
		fh := fill(t, b, f, 40)
		f.plain["file007"] = true
		held := make(map[vfs.NodeID]int)
		var names []string
		for off := uint64(0); ; {
			list := raw.NewDirEntryList(make([]byte, size), off)
			st := b.ReadDirPlus(nil, &raw.ReadIn{InHeader: root(), Fh: fh, Offset: off}, list)
			if st != raw.OK {
				t.Fatal(st)
			}
			entries, outs, err := raw.ParseDirLookupEntries(list.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range entries {
				names = append(names, e.Name)
				off = e.Off
				if outs[i].NodeId == 0 {
					continue
				}
				held[vfs.NodeID(outs[i].NodeId)]++
				if outs[i].NodeId != e.Ino || outs[i].Mode != syscall.S_IFREG|0o644 || outs[i].EntryTimeout() != f.ttl {
					t.Fatalf("%s: got %+v", e.Name, outs[i])
				}
			}
			if len(entries) == 0 {
				break
			}
		}
		if len(names) != 42 || len(held) != 39 {
			t.Errorf("size %d: %d names, %d with attributes; want 42, 39", size, len(names), len(held))
		}
		for id, n := range f.refs {
			if n != held[id] {
				t.Errorf("size %d: node %d has %d references, the kernel holds %d", size, id, n, held[id])
			}
		}
		b.ReleaseDir(&raw.ReleaseIn{Fh: fh})
	}
}

func TestReadDirPlain(t *testing.T) {
	b, f := openTest(t)
	fh := fill(t, b, f, 3)
	list := raw.NewDirEntryList(make([]byte, 4096), 0)
	if st := b.ReadDir(nil, &raw.ReadIn{InHeader: root(), Fh: fh}, list); st != raw.OK {
		t.Fatal(st)
	}
	entries, err := raw.ParseDirEntries(list.Bytes())
	if err != nil || len(entries) != 5 {
		t.Fatalf("got %v, %v", entries, err)
	}
	want := raw.DirEntry{Name: "file001", Ino: 3, Mode: syscall.S_IFREG, Off: 4}
	if entries[3] != want {
		t.Errorf("got %+v, want %+v", entries[3], want)
	}
}

// TestReadDirError: what was listed before the error reaches the kernel, and
// the error comes with the next request.
func TestReadDirError(t *testing.T) {
	b, f := openTest(t)
	fh := fill(t, b, f, 5)
	f.setHook(func(_ context.Context, op string) *vfs.Error {
		if op == "readdirplus file003" {
			return fail("readdir", vfs.IO)
		}
		return nil
	})
	read := func(off uint64) (int, raw.Status) {
		list := raw.NewDirEntryList(make([]byte, 4096), off)
		st := b.ReadDirPlus(nil, &raw.ReadIn{InHeader: root(), Fh: fh, Offset: off}, list)
		entries, _, _ := raw.ParseDirLookupEntries(list.Bytes())
		return len(entries), st
	}
	if n, st := read(0); n != 5 || st != raw.OK {
		t.Errorf("first: %d entries, %v; want 5, OK", n, st)
	}
	if n, st := read(5); n != 0 || st != raw.EIO {
		t.Errorf("second: %d entries, %v; want 0, EIO", n, st)
	}
}
