package index

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
)

// presence is how gateways know of each other. See "Being alone" in the
// package documentation, which argues why it is safe.
type presence struct {
	l    *Listing
	view atomic.Pointer[view] // never nil

	mu    sync.Mutex
	polls *poll            // under way; guarded by mu
	tried tick             // when the last poll began; guarded by mu
	peers map[string]*peer // by key, without this gateway; guarded by mu
	put   *announcement    // under way; guarded by mu
	kick  chan struct{}    // capacity 1; wakes the renewal
	told  atomic.Int64     // tick at which the last announcement that was stored began; 0: none
	used  atomic.Int64     // tick of the last Announce
	count atomic.Int64     // other gateways seen by the last poll
}

// view is what the last poll saw. It is never modified.
type view struct {
	began tick // of the last poll that succeeded; 0: none
	alone tick // end of the first poll since which nobody else was seen and nothing changed; 0: somebody is there
}

// covers reports whether nobody else has committed anything between the moment
// seen and the last poll.
func (v *view) covers(seen tick) bool { return v.alone != 0 && seen >= v.alone }

// peer is a record that another gateway has put.
type peer struct {
	etag     store.ETag
	modified time.Time
	changed  tick // when the poll that saw it change had ended
}

type poll struct {
	began tick
	done  chan struct{}
}

// Where records are, and the suffix of those that leaving gateways put. A
// record's name sorts before the same with the suffix: a LIST that misses the
// one because it has just been deleted finds the other.
const (
	gatewaysPrefix = Reserved + "/gateways/"
	leftSuffix     = ".left"
)

// Times of the protocol. They hold for all gateways, so they must not change.
const (
	announceEvery = 20 * time.Second // while in use
	announceValid = 30 * time.Second // a commit needs an announcement not older
	presentFor    = 60 * time.Second // after a record has been seen to change
	usedFor       = 2 * time.Minute  // after Announce
	recordsKept   = 24 * time.Hour   // by the server's clock
)

func (p *presence) open(l *Listing) {
	p.l, p.peers, p.kick = l, map[string]*peer{}, make(chan struct{}, 1)
	p.view.Store(&view{})
	if p.announces() {
		l.spawn(p.renew)
	}
}

// touch begins a poll in the background if the last one is older than DirTTL.
func (p *presence) touch(q tick) {
	if p.l.opt.Strict || p.view.Load().began.add(p.l.opt.DirTTL) >= q {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.polls == nil && p.tried.add(p.l.opt.DirTTL) < q {
		p.startLocked()
	}
}

// poll returns when a poll that began at need or later has ended, or ctx. An
// error shows in the view: it grows old.
func (p *presence) poll(ctx context.Context, need tick) {
	for {
		p.mu.Lock()
		if p.view.Load().began >= need {
			p.mu.Unlock()
			return
		}
		f := p.polls
		if f == nil {
			f = p.startLocked()
		}
		p.mu.Unlock()
		if f == nil || wait(ctx, f.done, store.OpList, gatewaysPrefix) != nil || f.began >= need {
			return
		}
	}
}

// startLocked begins a poll; nil if the index is closed.
func (p *presence) startLocked() *poll {
	f := &poll{done: make(chan struct{}), began: p.l.clock.tick()}
	if !p.l.spawn(func() { p.run(f) }) {
		return nil
	}
	p.polls, p.tried = f, f.began
	return f
}

func (p *presence) run(f *poll) {
	records, err := p.records(p.l.ctx)
	p.mu.Lock()
	before := p.count.Load()
	if err == nil {
		p.sawLocked(f.began, records)
	}
	p.polls = nil
	changed := p.count.Load() != before
	p.mu.Unlock()
	close(f.done)
	if changed && p.l.opt.OnGateways != nil {
		p.l.opt.OnGateways()
	}
	if err != nil && p.l.ctx.Err() == nil {
		p.l.opt.Log.Warn("look for other gateways", "error", err)
	}
}

// records lists what gateways have put.
func (p *presence) records(ctx context.Context) ([]store.Info, error) {
	var all []store.Info
	opts := store.ListOptions{Prefix: gatewaysPrefix}
	for {
		page, err := p.l.opt.Store.List(ctx, opts)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Objects...)
		if page.Next == "" {
			return all, nil
		}
		opts.Token = page.Next
	}
}

// sawLocked takes in the records that a poll has seen.
func (p *presence) sawLocked(began tick, records []store.Info) {
	now, old := p.l.clock.tick(), p.peers
	p.peers = make(map[string]*peer, len(records))
	own := p.ownModified(records)
	same, others := true, 0
	for _, r := range records {
		if p.mine(r.Key) {
			continue
		}
		q := old[r.Key]
		if q == nil || q.etag != r.ETag || !q.modified.Equal(r.Modified) {
			same = false
			q = &peer{etag: r.ETag, modified: r.Modified, changed: now}
			if !own.IsZero() && own.Sub(r.Modified) > presentFor+announceValid {
				q.changed = 0 // older than this gateway's own, by the server's clock
			}
		}
		p.peers[r.Key] = q
		if !strings.HasSuffix(r.Key, leftSuffix) && q.changed.add(presentFor) > began {
			others++
		}
	}
	for key := range old {
		same = same && p.peers[key] != nil
	}
	v := view{began: began}
	switch was := p.view.Load(); {
	case others > 0:
	case same && was.alone != 0:
		v.alone = was.alone
	default:
		v.alone = now
	}
	p.view.Store(&v)
	p.count.Store(int64(others))
}

// mine reports whether a record is this gateway's own.
func (p *presence) mine(key string) bool {
	id := p.l.opt.GatewayID
	return id != "" && (key == gatewaysPrefix+id || key == gatewaysPrefix+id+leftSuffix)
}

// ownModified returns when the server stored this gateway's own record, if it
// was put since Open.
func (p *presence) ownModified(records []store.Info) time.Time {
	if p.told.Load() != 0 {
		for _, r := range records {
			if r.Key == gatewaysPrefix+p.l.opt.GatewayID {
				return r.Modified
			}
		}
	}
	return time.Time{}
}

// others returns how many other gateways are there.
func (p *presence) others() int { return int(p.count.Load()) }

// aloneFor is by how much longer than DirTTL a poll tells that this gateway is
// alone: who asks because of a change may do so some time after that.
const aloneFor = 5 * time.Second

// alone reports whether nobody else was there at a poll not long ago. Where S3
// is asked every time there are no polls, and others have to be expected.
func (p *presence) alone() bool {
	v := p.view.Load()
	return !p.l.opt.Strict && v.alone != 0 && v.began.add(p.l.opt.DirTTL+aloneFor) >= p.l.clock.tick()
}
