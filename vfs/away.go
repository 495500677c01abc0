package vfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// patience is how long S3 may have been away before operations whose callers
// hold up others (those that the kernel makes under a directory's lock, and
// reads) fail instead of waiting for it. Commits wait for their deadline.
const patience = 10 * time.Second

// errAway ends the waiting for an endpoint that is away.
var errAway = errors.New("S3 is away")

// recall asks S3 a question as long as that can be answered. While S3 is away,
// the answer is what memory knows, however old, and only what it does not know
// waits for S3, for as long as patience allows. A question that is under way
// when S3 goes away is given up, so that memory answers all the same.
//
// memory must not answer that something does not exist: it cannot know. It may
// be nil.
func recall[T any](fs *FS, ctx context.Context, question func(context.Context) (T, error), memory func() (T, bool)) (T, error) {
	if fs.health == nil {
		return question(ctx)
	}
	if _, away := fs.health.Away(); !away {
		waiting := fs.whileThere(ctx, 0)
		v, err := question(waiting)
		waiting.release()
		if err == nil || ctx.Err() != nil || !fs.unanswered(err) {
			return v, err
		}
	}
	if memory != nil && !fs.opts.Strict {
		if v, ok := memory(); ok {
			fs.recalled.Add(1)
			return v, nil
		}
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	v, err := question(waiting)
	return v, waiting.explain(err)
}

// unanswered reports whether err is owed to S3 being away.
func (fs *FS) unanswered(err error) bool {
	if _, away := fs.health.Away(); !away {
		return false
	}
	switch kindOf(err) {
	case IO, Timeout, Interrupted:
		return true
	}
	return false
}

// kindOf is KindOf, also for an error that is not yet one of an operation.
func kindOf(err error) Kind {
	var own *Error
	if errors.As(err, &own) {
		return own.Kind
	}
	return kindOfFault(err)
}

// whileThere is a context that ends, beside when its parent does, when S3 has
// been away for some time. Making it costs nothing: what watches over S3 starts
// when somebody waits for Done, which an operation that needs no request never
// does.
type whileThere struct {
	context.Context
	health store.Health
	limit  time.Duration

	mu     sync.Mutex
	inner  context.Context         // guarded by mu: nil until somebody waits
	cancel context.CancelCauseFunc // guarded by mu
}

var _ context.Context = (*whileThere)(nil)

func (fs *FS) whileThere(ctx context.Context, limit time.Duration) *whileThere {
	return &whileThere{Context: ctx, health: fs.health, limit: limit}
}

// patient is whileThere for operations that can wait, though not for long.
func (fs *FS) patient(ctx context.Context) *whileThere { return fs.whileThere(ctx, patience) }

// Done implements [context.Context].
func (c *whileThere) Done() <-chan struct{} {
	if c.health == nil {
		return c.Context.Done()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.Context)
		go c.watch(c.inner, c.cancel) // ends with release
	}
	return c.inner.Done()
}

// Err implements [context.Context].
func (c *whileThere) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner.Err()
	}
	return c.Context.Err()
}

// explain returns err, or that S3 is away if that is why the operation ended.
func (c *whileThere) explain(err error) error {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if err == nil || inner == nil || !errors.Is(context.Cause(inner), errAway) || kindOf(err) != Interrupted {
		return err
	}
	since, _ := c.health.Away()
	cause := &store.Error{Kind: store.Unavailable, Err: fmt.Errorf("%w since %s", errAway, since.UTC().Format(time.RFC3339))}
	var own *Error
	if errors.As(err, &own) {
		return &Error{Op: own.Op, Path: own.Path, Kind: IO, Err: cause}
	}
	return cause
}

// release ends the watching. The context must not be used any more.
func (c *whileThere) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(nil)
	}
}

func (c *whileThere) watch(ctx context.Context, giveUp context.CancelCauseFunc) {
	for {
		changed := c.health.Changed()
		since, away := c.health.Away()
		var over <-chan time.Time
		if away {
			left := c.limit - time.Since(since)
			if left <= 0 {
				giveUp(errAway)
				return
			}
			over = time.After(left)
		}
		select {
		case <-changed:
		case <-over:
		case <-ctx.Done():
			return
		}
	}
}

// ask is recall for what the index knows of a name. Attributes must be known:
// without them even the type is a guess.
func (fs *FS) ask(ctx context.Context, path string, question func(context.Context, string) (index.Answer, error)) (index.Answer, error) {
	return recall(fs, ctx, func(ctx context.Context) (index.Answer, error) { return question(ctx, path) }, func() (index.Answer, bool) {
		e, ok := fs.idx.Peek(path)
		return index.Answer{Entry: e}, ok && e.Attr != nil
	})
}

// askName is ask for a lookup: also that there is no such name can be the answer
// from memory, see denyAway, if S3 goes away while it is asked.
func (fs *FS) askName(ctx context.Context, path string) (index.Answer, error) {
	absent := false
	ans, err := recall(fs, ctx, func(ctx context.Context) (index.Answer, error) { return fs.idx.Lookup(ctx, path) }, func() (index.Answer, bool) {
		e, ok := fs.idx.Peek(path)
		absent = fs.denyAway(path)
		return index.Answer{Entry: e}, absent || ok && e.Attr != nil
	})
	if err == nil && absent {
		err = &store.Error{Op: store.OpHead, Key: path, Kind: store.NotExist, Err: errAway}
	}
	return ans, err
}

// denyAway reports whether a name is taken for absent although S3 cannot be
// asked, since it was absent when the directory was last listed. Only with
// CommitLocal, where work goes on without S3, and new files are work: whether
// somebody else has made the same name shows when it is sent.
func (fs *FS) denyAway(path string) bool {
	if !fs.opts.CommitLocal || fs.opts.Strict || fs.health == nil {
		return false
	}
	if _, away := fs.health.Away(); !away {
		return false
	}
	dir, _ := splitPath(path)
	_, known := fs.idx.Peek(path)
	return !known && fs.idx.Whole(dir)
}

// openHere reports whether a handle of f can be answered from the bytes that
// are here: they are of the version that was current when S3 was last asked.
func (fs *FS) openHere(f *file, path string) bool {
	e, known := fs.idx.Peek(path)
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if !known || e.Attr == nil || e.ETag == "" || f.superseded || f.entry.Attr == nil {
		return false
	}
	if f.content == nil {
		c, etag, _ := fs.cache.open(fs, path)
		if c == nil {
			return false
		}
		if etag != e.ETag {
			c.done()
			return false
		}
		f.content, f.entry.ETag, f.entry.Size = c, etag, c.length()
	}
	return f.entry.ETag == e.ETag
}
