// Package probe finds out which conditional requests a server honours, by
// sending them. Some servers accept the headers and ignore them, and some honour
// them one after the other but not at the same time, so what is said about a
// server is not asked, and one request of a kind proves nothing.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Prefix is what keys of probes begin with.
const Prefix = ".causeway/probe/"

const (
	rivals         = 8 // concurrent requests for one key
	defaultTimeout = 20 * time.Second
)

// Options of a probe. The zero value has the defaults.
type Options struct {
	// Timeout is for the whole probe; 0 means 20 s.
	Timeout time.Duration
}

// Run probes s with some 50 small requests, most of them at the same time, and
// removes what it stored. It must not run through package retry, which would
// settle what is to be seen. The error is of a request that failed for a reason
// that has nothing to do with conditions; then nothing is known.
func Run(ctx context.Context, s store.Store, opts Options) (store.Capabilities, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	p := &probe{Store: s, prefix: Prefix + strings.ToLower(rand.Text()) + "/", keys: map[string]bool{}}

	var caps store.Capabilities
	checks := []struct {
		has *bool
		run func(context.Context) (bool, error)
	}{
		{&caps.PutIfAbsent, p.putIfAbsent},
		{&caps.PutIfMatch, p.putIfMatch},
		{&caps.CompleteIf, p.completeIf},
		{&caps.DeleteIf, p.deleteIf},
		{&caps.CopySourceIf, p.copySourceIf},
		{&caps.CopyIf, p.copyIf},
	}
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { *c.has, errs[i] = c.run(ctx) })
	}
	wg.Wait()
	err := errors.Join(append(errs, p.cleanUp(ctx))...)
	if err != nil {
		return store.Capabilities{}, fmt.Errorf("probe the server: %w", err)
	}
	return caps, nil
}

// probe is one run.
type probe struct {
	store.Store
	prefix string

	mu   sync.Mutex
	keys map[string]bool // guarded by mu; everything that may have been stored
}

// key names an object of the probe, and notes it for the clean-up.
func (p *probe) key(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.prefix + name
	p.keys[key] = true
	return key
}

func (p *probe) cleanUp(ctx context.Context) error {
	// Also after a timeout or cancellation; a crashed probe leaves a few
	// bytes under a prefix that is never shown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultTimeout)
	defer cancel()
	keys := make([]string, 0, len(p.keys))
	for key := range p.keys {
		keys = append(keys, key)
	}
	failed, err := p.DeleteMany(ctx, keys)
	for _, e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// put stores content, which is different each time so that versions differ.
func (p *probe) put(ctx context.Context, key, content string, cond store.Precondition) (store.Info, error) {
	return p.Put(ctx, key, store.Body{Reader: strings.NewReader(content), Size: int64(len(content))}, store.PutOptions{If: cond})
}

// refused sorts the outcome of a request whose condition does not hold: it
// reports true if the server refused it, false if it did not or cannot.
func refused(err error) (bool, error) {
	switch store.KindOf(err) {
	case store.PreconditionFailed, store.Conflict, store.NotExist:
		return true, nil
	case store.Unsupported, store.Invalid:
		return false, nil
	}
	return false, err // nil if it was carried out
}

// accepted sorts the outcome of a request whose condition holds.
func accepted(err error) (bool, error) {
	switch store.KindOf(err) {
	case store.Unsupported, store.Invalid, store.PreconditionFailed, store.NotExist:
		return false, nil
	}
	return err == nil, err
}

// race sends a write n times at once and reports whether exactly one succeeded.
func race(write func(i int) error) (bool, error) {
	errs := make([]error, rivals)
	var wg sync.WaitGroup
	for i := range rivals {
		wg.Go(func() { errs[i] = write(i) })
	}
	wg.Wait()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
			continue
		}
		if ok, err := refused(err); err != nil || !ok {
			return false, err
		}
	}
	return winners == 1, nil
}

// all runs checks at the same time; all must hold.
func all(checks ...func() (bool, error)) (bool, error) {
	holds := make([]bool, len(checks))
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { holds[i], errs[i] = check() })
	}
	wg.Wait()
	every := true
	for _, h := range holds {
		every = every && h
	}
	return every, errors.Join(errs...)
}

// unchanged reports whether key still holds the version.
func (p *probe) unchanged(ctx context.Context, key string, version store.ETag) (bool, error) {
	info, err := p.Head(ctx, key)
	if store.IsKind(err, store.NotExist) {
		return version == "", nil
	}
	return err == nil && info.ETag == version, err
}
