package participant

import (
	"context"
	"fmt"
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
	"strings"
	"time"
)

var dumped bool

func (p *play) dump(g *gateway, owner locks.Owner, c locks.Claim) {
	if dumped {
		return
	}
	dumped = true
	fmt.Println("DUMP", time.Now(), owner, c)
	co := p.f.space.Open()
	keys, _ := co.List(context.Background(), "p/")
	for _, k := range keys {
		st, _ := co.Get(context.Background(), k)
		r, _ := record.Decode(st.Data)
		fmt.Println(k, st.Version)
		for _, h := range r.Holders {
			fmt.Println("   H", h.Session[:4], h.Ticket[:4], h.Mode, h.Start, h.End, h.Used, h.Fence, people(h)[0].Owner)
		}
		for _, h := range r.Queue {
			fmt.Println("   Q", h.Session[:4], h.Ticket[:4], h.Mode, h.Start, h.End, people(h)[0].Owner)
		}
	}
	for i, g := range p.f.all {
		g.Participant.mu.Lock()
		if g.cur == nil {
			fmt.Println("gateway", i, "none")
			g.Participant.mu.Unlock()
			continue
		}
		fmt.Println("gateway", i, g.cur.id[:4])
		for _, h := range g.table.Held() {
			fmt.Println("   held", h.Holder.Owner, h.Claim)
		}
		for _, w := range g.table.Waiting() {
			fmt.Println("   waits", w.Holder.Owner, w.Claim, w.Place)
		}
		for _, n := range g.cur.nodes {
			fmt.Println("   node", n.key, n.ver, "known", n.known, "unsure", n.unsure, "busy", n.busy, "running", n.running, "reread", n.reread, "err", n.err, n.failures, time.Until(n.hotUntil))
			for _, u := range n.uses {
				fmt.Println("      use", u.owner, u.want.Mode, "ok", u.ok, "ticket", strings.TrimSpace(u.ticket + "    ")[:min(4, len(u.ticket))], "call", u.call != nil, u.silent, u.late, u.pass)
			}
		}
		g.Participant.mu.Unlock()
	}
}
