package vfs

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// pathLocks serialises operations on the same key: a commit, the removal and
// the rename of one path happen one after the other, while different paths
// never meet. A tree lock takes a directory and everything below it.
//
// A plain lock holds an intent on each ancestor; a tree lock waits until the
// intents on its directory are gone, and from then on new ones wait for it, so
// that it cannot starve. Locks taken by one call are granted together or not
// at all, so that no order among paths has to be kept.
type pathLocks struct {
	mu      sync.Mutex
	held    map[string]int // exclusive holders (0 or 1)
	trees   map[string]int // tree locks held
	wanted  map[string]int // tree locks waiting
	intents map[string]int // plain locks and tree locks strictly below
	changed chan struct{}  // closed and replaced when a lock is given back

	// patience bounds the wait for a tree that is being renamed or removed,
	// which may take hours; 0: not bounded. Constant.
	patience time.Duration
}

func newPathLocks() *pathLocks {
	return &pathLocks{held: map[string]int{}, trees: map[string]int{}, wanted: map[string]int{},
		intents: map[string]int{}, changed: make(chan struct{})}
}

// lock takes all paths, and returns what gives them back. The error is ctx's, or
// DeadlineExceeded if the paths lie in a tree that stays locked for long.
func (l *pathLocks) lock(ctx context.Context, paths ...string) (func(), error) {
	return l.acquire(ctx, paths, false)
}

// lockTrees takes all directories with what is below them.
func (l *pathLocks) lockTrees(ctx context.Context, dirs ...string) (func(), error) {
	return l.acquire(ctx, dirs, true)
}

func (l *pathLocks) acquire(ctx context.Context, paths []string, tree bool) (func(), error) {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if tree {
		l.add(l.wanted, paths, 1)
		defer l.add(l.wanted, paths, -1)
	}
	var enough <-chan time.Time
	for !l.free(paths, tree) {
		changed := l.changed
		if !l.inTree(paths) {
			enough = nil
		} else if enough == nil && l.patience > 0 {
			enough = time.After(l.patience)
		}
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			l.wake() // others may have waited for our wish only
			return nil, ctx.Err()
		case <-enough:
			l.mu.Lock()
			l.wake()
			return nil, context.DeadlineExceeded
		}
	}
	l.grant(paths, tree, 1)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.grant(paths, tree, -1)
		l.wake()
	}), nil
}

func (l *pathLocks) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *pathLocks) free(paths []string, tree bool) bool {
	for _, p := range paths {
		if l.held[p] > 0 || l.trees[p] > 0 || (tree && l.intents[p] > 0) || (!tree && l.wanted[p] > 0) {
			return false
		}
		for dir := range ancestors(p) {
			if l.trees[dir] > 0 || (!tree && l.wanted[dir] > 0) {
				return false
			}
		}
	}
	return true
}

// inTree reports whether one of the paths is in a tree that is locked.
func (l *pathLocks) inTree(paths []string) bool {
	for _, p := range paths {
		if l.trees[p] > 0 {
			return true
		}
		for dir := range ancestors(p) {
			if l.trees[dir] > 0 {
				return true
			}
		}
	}
	return false
}

func (l *pathLocks) grant(paths []string, tree bool, n int) {
	if tree {
		l.add(l.trees, paths, n)
	} else {
		l.add(l.held, paths, n)
	}
	for _, p := range paths {
		for dir := range ancestors(p) {
			addTo(l.intents, dir, n)
		}
	}
}

func (l *pathLocks) add(m map[string]int, paths []string, n int) {
	for _, p := range paths {
		addTo(m, p, n)
	}
}

func addTo(m map[string]int, key string, n int) {
	if m[key] += n; m[key] == 0 {
		delete(m, key)
	}
}

// ancestors yields the directories above p, nearest first, without the root:
// nothing renames the root.
func ancestors(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			if !yield(p[:i]) {
				return
			}
		}
	}
}
