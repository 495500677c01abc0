package participant

import (
	"reflect"

	"github.com/causewayfs/causeway/locks"
)

// tell tells a call its place if that has changed.
func (c *call) tell() {
	if c.Notify == nil {
		return
	}
	place := c.position()
	if reflect.DeepEqual(place, c.told) {
		return
	}
	c.told = place
	select { // only the latest counts
	case <-c.place:
	default:
	}
	c.place <- place
}

// position counts those in front: of this gateway, and in the record at which c
// waits those of others.
func (c *call) position() locks.Position {
	p := c.s.p.table.Position(c.id)
	for _, u := range c.uses {
		if u == nil || u.ok {
			continue
		}
		place := u.node.rec.Waiting(u.ticket)
		if place < 0 {
			break
		}
		e := u.node.rec.Queue[place]
		for _, o := range u.node.rec.InTheWay(e, place) {
			if o.Fence != 0 {
				p.Holders = append(p.Holders, people(o)...)
			} else {
				p.Place++
			}
		}
		break
	}
	return p
}

func (p *Participant) tellAll() {
	for _, c := range p.calls {
		c.tell()
	}
}
