package vfs

import (
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

// TestUncommitted lists a file that is being written and a temporary one, and
// nothing once they are committed or gone.
func TestUncommitted(t *testing.T) {
	fs, err := Open(t.Context(), Options{Store: mem.New(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close(t.Context(), nil)
	write := func(name string) *Handle {
		known, h, err := fs.Create(t.Context(), Caller{}, RootID, name, syscall.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer fs.Forget(known.ID, 1)
		if _, err := fs.Write(t.Context(), h, []byte("12345"), 0); err != nil {
			t.Fatal(err)
		}
		return h
	}
	open, staged := write("open"), write("x.tmp")
	if err := fs.Flush(t.Context(), staged); err != nil {
		t.Fatal(err)
	}
	fs.Release(staged)
	byName := map[string]Uncommitted{}
	for _, u := range fs.Uncommitted(10) {
		byName[u.Path] = u
	}
	st := fs.Stats()
	if len(byName) != 2 || st.StagedFiles != 1 || st.DirtyFiles != 1 || !byName["x.tmp"].Staged || byName["open"].Staged || byName["open"].Size != 5 || byName["open"].Since.IsZero() {
		t.Errorf("listed %v, counted %+v", byName, st)
	}
	if all := fs.Uncommitted(1); len(all) != 1 {
		t.Errorf("with a limit of 1: %v", all)
	}
	if err := fs.Flush(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	fs.Release(open)
	if err := fs.Unlink(t.Context(), RootID, "x.tmp"); err != nil {
		t.Fatal(err)
	}
	if all := fs.Uncommitted(10); len(all) != 0 {
		t.Errorf("afterwards: %v", all)
	}
}
