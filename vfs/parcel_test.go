package vfs

import (
	"slices"
	"testing"

	"github.com/causewayfs/causeway/vfs/journal"
)

// A parcel of appends that comes after another one went behind others' appends
// knows where its own begin, and which parcels may have sent the first of them.
func TestParcelsOfAppends(t *testing.T) {
	parcelOf := func(id journal.ID, size, from int64, tries ...appendedTry) *parcel {
		return &parcel{id: id, intent: intent{Size: size, Append: &appended{From: from, Base: from, Tries: tries}}}
	}
	sent := parcelOf(1, 8, 4) // 4 bytes behind a version of 4
	for _, c := range []struct {
		what   string
		landed bool
		from   int64 // where those of the next parcel begin
		want   []appendedTry
	}{
		{"nothing has been sent", false, 4, []appendedTry{{1, 4}, {2, 8}}},
		{"the first went behind 100 bytes of others", true, 108, []appendedTry{{2, 4}}},
	} {
		waiting := parcelOf(2, 12, 4, appendedTry{1, 4})
		waiting.after = sent
		if sent.size = 104; c.landed {
			sent.passOn(waiting)
		}
		p := parcelOf(0, c.from+12, c.from)
		p.inherit(waiting)
		if a := p.Append; a.From != c.from || a.Base != c.from || !slices.Equal(a.Tries, c.want) {
			t.Errorf("%s: %+v, want from %d with %v", c.what, *a, c.from, c.want)
		}
	}
}
