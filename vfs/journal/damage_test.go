package journal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestDamage flips bytes of records that were durable.
func TestDamage(t *testing.T) {
	build := func() (*disk, *history) {
		d := newDisk()
		h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
		h.j, _ = open(t, d)
		for i := range 9 {
			h.append(nil, strings.Repeat(string(rune('a'+i)), 120))
			h.sync()
		}
		return after(d.names, nil, nil), h
	}
	for _, c := range []struct {
		name      string
		number    uint64
		at        int
		live      int
		wantAside bool
	}{
		{"first record of the first segment", 1, headerSize + 30, 6, true},
		{"second record of the first segment", 1, headerSize + 152 + 30, 7, true},
		{"last record of a middle segment", 2, headerSize + 2*152 + 90, 8, true},
		{"length of a record in the newest", 3, headerSize, 6, true},
		{"header of the first", 1, 30, 6, true},
		{"header of the newest", 3, 30, 6, true},
		{"last record of the newest, which may be torn", 3, headerSize + 2*152 + 90, 8, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, h := build()
			name := dir + "/" + segmentName(c.number)
			n := d.names[name]
			before := bytes.Clone(n.data)
			n.data = bytes.Clone(n.data)
			n.data[c.at] ^= 1
			bad := n.data
			for try := range 3 {
				j, entries := open(t, d)
				if len(entries) != c.live {
					t.Errorf("open %d: %d live, want %d", try, len(entries), c.live)
				}
				for _, e := range entries {
					if h.acked[e.ID] != string(e.Body) {
						t.Errorf("open %d: intent %d is %.10q", try, e.ID, e.Body)
					}
				}
				if got := len(j.Damage()); got > 0 != (c.wantAside && try == 0) {
					t.Errorf("open %d: damage %v", try, j.Damage())
				}
				for _, err := range j.Damage() {
					if !errors.Is(err, ErrDamaged) {
						t.Errorf("%v is not ErrDamaged", err)
					}
				}
				if try == 1 {
					if _, err := j.Append(nil, nil); err != nil || j.Close() != nil {
						t.Errorf("append: %v", err)
					}
					c.live++
					for id := range j.live {
						if _, ok := h.acked[id]; !ok {
							h.acked[id] = ""
						}
					}
				}
			}
			aside := d.names[strings.TrimSuffix(name, suffixLog)+suffixDamaged]
			if (aside != nil) != c.wantAside || aside != nil && !bytes.Equal(aside.data, bad) {
				t.Errorf("set aside: %v, of %d bytes", aside != nil, len(before))
			}
		})
	}
}
