package vfs

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/index"
)

// Times of what front ends are lent: for how long they may keep answers.
const (
	lendAlone  = time.Second            // while no other gateway is on the bucket
	lendShared = 100 * time.Millisecond // otherwise
	lendSlack  = 10 * time.Millisecond  // how long an answer may be on its way to who keeps it
	lendPause  = 10 * time.Second       // after an acquire nothing is lent
)

// lending keeps account of what front ends may still believe. A kernel can be
// made to ask again for all that it has (FUSE_NOTIFY_INC_EPOCH), but drops
// names that are in use then: getcwd(2) fails, and what is mounted below is
// unmounted. And it can expire a name only when nothing is being made in that
// directory, such as the file by which somebody acquires. So little is lent
// while others are there, nothing while locks change hands, and whoever
// acquires waits until what was lent is over.
type lending struct {
	until atomic.Int64 // the latest end of all that was lent, in ns since 1970
	from  atomic.Int64 // nothing is lent before, in ns since 1970
}

// lend returns for how long a front end may keep an answer that holds for ttl.
func (fs *FS) lend(ttl time.Duration) time.Duration {
	l, now := &fs.lending, fs.now().UnixNano()
	alone := fs.alone()
	allowed := func() bool {
		if alone {
			return fs.alone()
		}
		return l.from.Load() <= now
	}
	if ttl <= 0 || !allowed() {
		return 0
	}
	if ttl = min(ttl, lendAlone); !alone {
		ttl = min(ttl, lendShared)
	}
	atLeast(&l.until, now+int64(ttl))
	if !allowed() {
		return 0 // an acquire may have looked already
	}
	return ttl
}

// atLeast makes a not less than v.
func atLeast(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if old >= v || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// lendNothing lends nothing for a while, and returns when what was lent until
// now is over.
func (fs *FS) lendNothing() (over time.Time) {
	atLeast(&fs.lending.from, fs.now().Add(lendPause).UnixNano())
	return time.Unix(0, fs.lending.until.Load()).Add(lendSlack)
}

// alone reports whether no other gateway is on the bucket, so that nothing here
// can be older than what others have committed.
func (fs *FS) alone() bool {
	if fs.opts.Locks != nil {
		return fs.opts.Locks.Sole()
	}
	return fs.idx.Stats().Alone
}

// Acquired tells that this gateway was granted something that another one may
// have had. When it returns, nothing is shown any more that was known before
// the call, by any front end: names, attributes, that something does not exist,
// or data at an open. While this gateway is alone on the bucket it does
// nothing. The error is that of ctx.
func (fs *FS) Acquired(ctx context.Context) error {
	if fs.alone() {
		return nil
	}
	over := fs.lendNothing()
	fs.idx.Acquire()
	atLeast(&fs.acquired, fs.now().UnixNano())
	wait := over.Sub(fs.now())
	if wait <= 0 {
		return nil
	}
	sleep(ctx, wait)
	return ctx.Err()
}

// acquiredAt is when Acquired was last called, but for calls that did nothing.
func (fs *FS) acquiredAt() time.Time { return time.Unix(0, fs.acquired.Load()) }

// madeExclusively is how many names are remembered that O_EXCL made, and
// releaseSize up to how many bytes such a file may be a lock.
const (
	madeExclusively = 16384
	releaseSize     = 64 << 10
)

// acquiredName is Acquired for a name that was just made exclusively, which
// makes it a lock perhaps. The name stays made, whatever happens.
func (fs *FS) acquiredName(ctx context.Context, path string) {
	fs.exclusive.Add(path, struct{}{})
	_ = fs.Acquired(context.WithoutCancel(ctx))
}

// release is called before a name goes or becomes that of another file. If it
// was made exclusively here, it may be a lock, and others who get it must see
// all that was acknowledged before: that is in S3 when release returns nil.
// Alone on the bucket, there are no others, and only what local commits left
// here is sent.
func (fs *FS) release(ctx context.Context, path string) error {
	if !fs.exclusive.Contains(path) || fs.alone() && !fs.opts.CommitLocal {
		return nil
	}
	if e, known := fs.idx.Peek(path); known && (e.Type != index.TypeFile || e.Size > releaseSize) {
		return nil
	}
	return fs.Sync(ctx, "")
}
