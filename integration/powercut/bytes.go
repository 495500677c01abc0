package powercut

import (
	"math/rand/v2"
)

const (
	pageSize   = 4096
	sectorSize = 512 // what a disk writes whole
)

// pages are the bytes of a sparse file. Pages that are absent are zeros, and
// bytes behind size are zeros in pages that are there.
type pages struct {
	size int64
	at   map[int64]*[pageSize]byte // by offset / pageSize
}

func newPages() *pages { return &pages{at: map[int64]*[pageSize]byte{}} }

func (p *pages) clone() *pages {
	c := &pages{size: p.size, at: make(map[int64]*[pageSize]byte, len(p.at))}
	for i, page := range p.at {
		same := *page
		c.at[i] = &same
	}
	return c
}

// read fills b from off and returns how many bytes there are.
func (p *pages) read(b []byte, off int64) int {
	if off >= p.size {
		return 0
	}
	b = b[:min(int64(len(b)), p.size-off)]
	for n := 0; n < len(b); {
		page, in := p.at[(off+int64(n))/pageSize], int((off+int64(n))%pageSize)
		part := b[n:min(len(b), n+pageSize-in)]
		if page == nil {
			clear(part)
		} else {
			copy(part, page[in:])
		}
		n += len(part)
	}
	return len(b)
}

func (p *pages) write(b []byte, off int64) {
	p.size = max(p.size, off+int64(len(b)))
	for len(b) > 0 {
		i, in := off/pageSize, off%pageSize
		if p.at[i] == nil {
			p.at[i] = new([pageSize]byte)
		}
		n := copy(p.at[i][in:], b)
		b, off = b[n:], off+int64(n)
	}
}

// zero makes n bytes zeros and leaves the size as it is.
func (p *pages) zero(off, n int64) {
	for end := off + n; off < end; {
		i, in := off/pageSize, off%pageSize
		part := min(end-off, pageSize-in)
		if part == pageSize {
			delete(p.at, i)
		} else if page := p.at[i]; page != nil {
			clear(page[in : in+part])
		}
		off += part
	}
}

func (p *pages) truncate(size int64) {
	if size < p.size {
		p.zero(size, (size/pageSize+1)*pageSize-size)
		for i := range p.at {
			if i*pageSize >= size {
				delete(p.at, i)
			}
		}
	}
	p.size = size
}

// changeKind is a kind of change to the bytes of a file.
type changeKind int

const (
	changeWrite    changeKind = iota
	changeTruncate            // to off
	changeZero                // n bytes at off
	changeExtend              // to at least off
)

// change is one change to the bytes of a file.
type change struct {
	kind   changeKind
	off, n int64
	data   []byte
}

func (c change) apply(p *pages) {
	switch c.kind {
	case changeWrite:
		p.write(c.data, c.off)
	case changeTruncate:
		p.truncate(c.off)
	case changeZero:
		p.zero(c.off, min(c.n, max(p.size-c.off, 0)))
	case changeExtend:
		p.size = max(p.size, c.off)
	}
}

// contents are the bytes of a file: as they are seen, as they are durable, and
// the changes between the two.
type contents struct {
	live    *pages
	durable *pages
	pending []change
}

func newContents() *contents { return &contents{live: newPages(), durable: newPages()} }

func (c *contents) do(ch change) {
	ch.apply(c.live)
	c.pending = append(c.pending, ch)
}

func (c *contents) sync() {
	for _, ch := range c.pending {
		ch.apply(c.durable)
	}
	c.pending = nil
}

// cut returns the bytes that a power cut leaves. Without a source of chance it
// leaves what is durable.
func (c *contents) cut(r *rand.Rand) *pages {
	p := c.durable.clone()
	if r == nil {
		return p
	}
	for _, ch := range c.pending {
		if ch.kind != changeWrite {
			if r.IntN(3) == 0 {
				break // these are kept in order, and what follows depends on them
			}
			ch.apply(p)
			continue
		}
		switch r.IntN(4) {
		case 0: // lost
		case 1:
			tear(r, ch, p)
		default:
			ch.apply(p)
		}
	}
	return p
}

// tear writes some sectors of a change.
func tear(r *rand.Rand, ch change, p *pages) {
	for off, b := ch.off, ch.data; len(b) > 0; {
		n := min(int64(len(b)), sectorSize-off%sectorSize)
		if r.IntN(2) == 0 {
			p.write(b[:n], off)
		}
		off, b = off+n, b[n:]
	}
}
