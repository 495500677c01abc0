package vfs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// TestAppendTable writes lists and reads them again, also when there is little
// room for them.
func TestAppendTable(t *testing.T) {
	var table appendTable
	for i := range 40 {
		table = table.with(appendMark{fmt.Sprint("s", i%20), uint64(i)})
		if back := parseAppends(table.String()); back.String() != table.String() || back.cut != table.cut {
			t.Fatalf("%q became %q", table, back)
		}
		if n := min(i+1, maxSessions); len(table.marks) != n || table.marks[0].seq != uint64(i) {
			t.Fatalf("after %d: %q", i, table)
		}
	}
	for _, text := range []string{"", "-", "a.1", "a.1,-", "a.zz,b.2"} {
		if got := parseAppends(text).String(); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"a", ".1", "a.1,b.-1,c.2", "a.1,,"} {
		if !parseAppends(text).cut {
			t.Errorf("nothing is missing in %q", text)
		}
	}
	w := newWorld(t, mem.New(), nil)
	a := &appendCommit{session: "me", seq: 7, size: 1, base: appendBase{table: table}}
	a.entry.Attr = &index.Attr{Other: store.Metadata{"note": strings.Repeat("x", store.MaxMetadata-80)}}
	meta, attr, err := w.fs.encodeAppend(a)
	if short := parseAppends(meta[AppendsKey]); err != nil || len(short.marks) == 0 || len(short.marks) > 10 || !short.cut ||
		short.marks[0].session != "me" || tableOf(attr).String() != short.String() {
		t.Errorf("with little room: %q, %v", meta[AppendsKey], err)
	}
}

// TestAppendFate decides by a list what became of an attempt.
func TestAppendFate(t *testing.T) {
	full := func(first string) string {
		for i := len(parseAppends(first).marks); i < maxSessions; i++ {
			first += fmt.Sprintf(",o%d.1", i)
		}
		return strings.TrimPrefix(first, ",")
	}
	for _, c := range []struct {
		before, now string
		latest      uint64
		want        fate
	}{
		{"", "", 0, notDone},
		{"", "me.5", 0, done},
		{"", "x.1,me.5", 0, done},
		{"me.3", "x.1,me.3", 0, notDone},
		{"", "me.6", 0, unknown},
		{"", "me.6", 6, done},
		{"", "x.1", 0, notDone},
		{"", "x.1,-", 0, unknown},
		{"y.1", "x.1,y.1,-", 0, notDone},
		{"y.1", full("x.1"), 0, unknown},
		{"y.1", full("x.1,y.1"), 0, notDone},
		{"y.1", full("x.1,y.2"), 0, unknown},
		{"y.1", full("x.1,me.5"), 0, done},
	} {
		try := appendTry{seq: 5, upto: 1, before: parseAppends(c.before)}
		if got := parseAppends(c.now).fateOf("me", try, c.latest); got != c.want {
			t.Errorf("before %q, now %q, latest %d: got %d, want %d", c.before, c.now, c.latest, got, c.want)
		}
	}
}
