package s3lock

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
	"github.com/causewayfs/causeway/store"
)

const (
	// DefaultTTL is how long a session lives without being renewed.
	DefaultTTL = 15 * time.Second
	// DefaultPrefix is where the objects are.
	DefaultPrefix = ".causeway/locks/"

	defaultPace = time.Second
)

// Options of a Coordinator. The zero value has the defaults.
type Options struct {
	TTL    time.Duration // 0: DefaultTTL
	Prefix string        // "": DefaultPrefix; ends with "/"
	// Clock is a monotonic clock that goes on while the machine sleeps; nil:
	// lease.Boot.
	Clock func() time.Duration
	Log   *slog.Logger // nil: silent
}

// Coordinator is the coordinator. It may be used concurrently.
type Coordinator struct {
	st   store.Store
	opts Options

	mu   sync.Mutex
	seen map[locks.SessionID]sighting // guarded by mu; sessions of others
}

var _ locks.Coordinator = (*Coordinator)(nil)

// New returns a Coordinator over st, which settles lost answers (package
// retry). Its owner closes st behind Close.
func New(st store.Store, opts Options) *Coordinator {
	if opts.TTL <= 0 {
		opts.TTL = DefaultTTL
	}
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if opts.Clock == nil {
		opts.Clock = lease.Boot
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Coordinator{st: st, opts: opts, seen: map[locks.SessionID]sighting{}}
}

// TTL implements [locks.Coordinator].
func (c *Coordinator) TTL() time.Duration { return c.opts.TTL }

// Close implements [locks.Coordinator]. Nothing runs in the background but
// sessions.
func (c *Coordinator) Close() error { return nil }

func (c *Coordinator) recordName(key string) (string, error) {
	name, err := nameOf(key)
	if err != nil {
		return "", err
	}
	return c.opts.Prefix + "r/" + name, nil
}

// Get implements [locks.Coordinator].
func (c *Coordinator) Get(ctx context.Context, key string) (locks.RecordState, error) {
	state, _, err := c.read(ctx, key, "")
	return state, err
}

// read gets a record, unless it has version known still; then the answer is
// false.
func (c *Coordinator) read(ctx context.Context, key string, known locks.Version) (locks.RecordState, bool, error) {
	name, err := c.recordName(key)
	if err != nil {
		return locks.RecordState{}, false, err
	}
	body, etag, err := c.fetch(ctx, name, store.ETag(known))
	switch {
	case store.IsKind(err, store.NotModified):
		return locks.RecordState{}, false, nil
	case store.IsKind(err, store.NotExist):
		return locks.RecordState{Key: key}, known != "", nil
	case err != nil:
		return locks.RecordState{}, false, err
	}
	data, _, err := decodeRecord(body)
	if err != nil {
		return locks.RecordState{}, false, fmt.Errorf("read record %q: %w", key, err)
	}
	return locks.RecordState{Key: key, Data: data, Version: locks.Version(etag)}, true, nil
}

// fetch reads an object whole.
func (c *Coordinator) fetch(ctx context.Context, name string, unless store.ETag) ([]byte, store.ETag, error) {
	obj, err := c.st.Get(ctx, name, store.GetOptions{IfNoneMatch: unless})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = obj.Body.Close() }()
	if obj.Length > maxBody {
		return nil, "", fmt.Errorf("object %s has %d bytes: %w", name, obj.Length, errFormat)
	}
	body := make([]byte, obj.Length)
	if _, err := io.ReadFull(obj.Body, body); err != nil {
		return nil, "", err
	}
	return body, obj.Info.ETag, nil
}

// Put implements [locks.Coordinator].
func (c *Coordinator) Put(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	if data == nil {
		data = []byte{}
	}
	return c.replace(ctx, key, data, v)
}

// Delete implements [locks.Coordinator].
func (c *Coordinator) Delete(ctx context.Context, key string, v locks.Version) error {
	if v == "" {
		state, err := c.Get(ctx, key)
		if err == nil && state.Version != "" {
			err = locks.ErrConflict
		}
		return err
	}
	_, err := c.replace(ctx, key, nil, v)
	return err
}

func (c *Coordinator) replace(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	name, err := c.recordName(key)
	if err != nil {
		return "", err
	}
	etag, err := c.write(ctx, name, encodeRecord(data, rand.Text()), store.ETag(v))
	return locks.Version(etag), err
}

// write stores an object on the condition that it has the version etag; ""
// means that it does not exist. The error is locks.ErrConflict if it is certain
// that nothing was written for that reason.
func (c *Coordinator) write(ctx context.Context, name string, body []byte, etag store.ETag) (store.ETag, error) {
	opts := store.PutOptions{If: store.IfMatch(etag)}
	if etag == "" {
		opts.If = store.IfAbsent()
	}
	info, err := c.st.Put(ctx, name, store.Body{Reader: bytes.NewReader(body), Size: int64(len(body))}, opts)
	switch {
	case err == nil:
		return info.ETag, nil
	case errors.Is(err, store.ErrUnsettled):
		return "", fmt.Errorf("write %s: %w", name, err)
	case store.IsKind(err, store.PreconditionFailed), store.IsKind(err, store.NotExist) && etag != "":
		return "", locks.ErrConflict
	}
	return "", err
}

// List implements [locks.Coordinator].
func (c *Coordinator) List(ctx context.Context, prefix string) ([]string, error) {
	base := c.opts.Prefix + "r/"
	opts := store.ListOptions{Prefix: base + escape(prefix)}
	var keys []string
	for {
		page, err := c.st.List(ctx, opts)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			if o.Size <= int64(tombstoneSize) {
				continue
			}
			if key, ok := keyOf(strings.TrimPrefix(o.Key, base)); ok {
				keys = append(keys, key)
			}
		}
		if page.Next == "" {
			slices.Sort(keys)
			return keys, nil
		}
		opts.Token = page.Next
	}
}

// Await implements [locks.Coordinator]. It asks again and again.
func (c *Coordinator) Await(ctx context.Context, key string, v locks.Version, pace func(asked int) time.Duration) (locks.RecordState, error) {
	for asked := 0; ; asked++ {
		pause := defaultPace
		if pace != nil {
			pause = pace(asked)
		}
		if err := lease.Pause(ctx, pause); err != nil {
			return locks.RecordState{Key: key, Version: v}, err
		}
		state, changed, err := c.read(ctx, key, v)
		switch {
		case err != nil && ctx.Err() != nil:
			return locks.RecordState{Key: key, Version: v}, ctx.Err()
		case err != nil:
			return locks.RecordState{}, err
		case changed:
			return state, nil
		}
	}
}
