package index

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Gateway is the record by which a gateway makes itself known.
type Gateway struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Version string    `json:"version,omitempty"`
	// Time is when the record was made, on the gateway's own clock. It also
	// makes each record another version.
	Time time.Time `json:"time"`

	// Present and Seen are not part of the record: whether the gateway
	// counts as present, and when the server stored the record.
	Present bool      `json:"-"`
	Seen    time.Time `json:"-"`
}

type announcement struct {
	done chan struct{}
	err  error // set before done is closed
}

func (p *presence) announces() bool { return !p.l.opt.ReadOnly && p.l.opt.GatewayID != "" }

// Announce makes this gateway known to others. Call it before each request
// that changes an object outside [Reserved]; an error forbids that request. It
// costs one PUT at the first call, and after a time without calls; otherwise
// nothing.
func (l *Listing) Announce(ctx context.Context) error {
	p := &l.pres
	if !p.announces() {
		return nil
	}
	for {
		q := l.clock.tick()
		p.used.Store(int64(q))
		if told := tick(p.told.Load()); told != 0 && told.add(announceValid) > q {
			return nil
		}
		p.mu.Lock()
		a := p.put
		mine := a == nil
		if mine {
			a = &announcement{done: make(chan struct{})}
			if !l.spawn(func() { p.announce(a) }) {
				p.mu.Unlock()
				return closed(store.OpPut, gatewaysPrefix)
			}
			p.put = a
		}
		p.mu.Unlock()
		if err := wait(ctx, a.done, store.OpPut, gatewaysPrefix); err != nil {
			return err
		}
		if a.err != nil {
			return a.err
		}
	}
}

// announce puts the record, and wakes the renewal.
func (p *presence) announce(a *announcement) {
	a.err = p.store(p.l.ctx, gatewaysPrefix+p.l.opt.GatewayID)
	p.mu.Lock()
	p.put = nil
	p.mu.Unlock()
	close(a.done)
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// store puts this gateway's record under key.
func (p *presence) store(ctx context.Context, key string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	began := p.l.clock.tick()
	text, err := json.Marshal(Gateway{
		ID: p.l.opt.GatewayID, Host: host, PID: os.Getpid(), Version: p.l.opt.Version,
		Started: p.l.clock.start.UTC().Round(0), Time: p.l.clock.time(began).UTC().Round(0),
	})
	if err != nil {
		return &store.Error{Op: store.OpPut, Key: key, Kind: store.Other, Err: err}
	}
	body := store.Body{Reader: bytes.NewReader(text), Size: int64(len(text))}
	if _, err := p.l.opt.Store.Put(ctx, key, body, store.PutOptions{ContentType: "application/json"}); err != nil {
		return err
	}
	p.told.Store(int64(began))
	return nil
}

// renew puts the record again while this gateway is in use. It runs until
// Close.
func (p *presence) renew() {
	p.waitForUse()
	swept := false
	for p.l.ctx.Err() == nil {
		select {
		case <-p.l.ctx.Done():
		case <-time.After(announceEvery):
			if !swept {
				p.sweep(p.l.ctx)
				swept = true
			}
			if tick(p.used.Load()).add(usedFor) < p.l.clock.tick() && !p.l.holds.any() {
				p.waitForUse()
				continue
			}
			if err := p.store(p.l.ctx, gatewaysPrefix+p.l.opt.GatewayID); err != nil && p.l.ctx.Err() == nil {
				p.l.opt.Log.Warn("renew the record of this gateway", "error", err)
			}
		}
	}
}

func (p *presence) waitForUse() {
	select {
	case <-p.kick:
	case <-p.l.ctx.Done():
	}
}

// sweep deletes records of gateways that have long gone. One that is idle puts
// its own again before it commits.
func (p *presence) sweep(ctx context.Context) {
	records, err := p.records(ctx)
	if err != nil {
		return // the next start tries again
	}
	own := p.ownModified(records)
	for _, r := range records {
		if own.IsZero() || p.mine(r.Key) || own.Sub(r.Modified) < recordsKept {
			continue
		}
		if err := p.l.opt.Store.Delete(ctx, r.Key, store.IfMatch(r.ETag)); err != nil && !store.IsKind(err, store.NotExist) {
			p.l.opt.Log.Debug("delete an old gateway record", "key", r.Key, "error", err)
			return
		}
	}
}

// leave tells others that this gateway commits nothing any more: first the
// record that it has left, then its own is deleted.
func (p *presence) leave(ctx context.Context) error {
	if p.told.Load() == 0 {
		return nil
	}
	key := gatewaysPrefix + p.l.opt.GatewayID
	if err := p.store(ctx, key+leftSuffix); err != nil {
		return err
	}
	return p.l.opt.Store.Delete(ctx, key, store.Always)
}

// Gateways reads the records of all gateways, this one's among them, that are
// there or have not left properly.
func (l *Listing) Gateways(ctx context.Context) ([]Gateway, error) {
	p := &l.pres
	q := l.clock.tick()
	p.poll(ctx, q)
	records, err := p.records(ctx)
	if err != nil {
		return nil, err
	}
	var all []Gateway
	for _, r := range records {
		if strings.HasSuffix(r.Key, leftSuffix) {
			continue
		}
		g, err := p.read(ctx, r.Key)
		if store.IsKind(err, store.NotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		g.Seen = r.Modified
		p.mu.Lock()
		peer := p.peers[r.Key]
		p.mu.Unlock()
		g.Present = p.mine(r.Key) || peer != nil && peer.changed.add(presentFor) > q
		all = append(all, g)
	}
	return all, nil
}

// read reads one record. One that is damaged has only its ID.
func (p *presence) read(ctx context.Context, key string) (Gateway, error) {
	id := strings.TrimPrefix(key, gatewaysPrefix)
	obj, err := p.l.opt.Store.Get(ctx, key, store.GetOptions{Length: 1 << 16})
	if err != nil {
		return Gateway{}, err
	}
	defer obj.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(obj.Body)
	if err != nil {
		return Gateway{}, err
	}
	var g Gateway
	if json.Unmarshal(text, &g) != nil {
		g = Gateway{}
	}
	g.ID = id
	return g, nil
}
