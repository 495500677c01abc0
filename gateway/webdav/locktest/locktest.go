// Package locktest is the contract of webdav.LockSystem as tests, for every
// implementation.
package locktest

import (
	"context"
	"errors"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/causewayfs/causeway/gateway/webdav"
)

// Open makes an empty lock system of its own for a test. pass makes time go by
// for it.
type Open func(t *testing.T) (locks webdav.LockSystem, pass func(time.Duration))

// Run runs all tests.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite)
	}{
		{"conflicts", conflicts},
		{"coverage", coverage},
		{"owners", owners},
		{"expiry", expiry},
		{"changes hold locks up", holds},
		{"what is gone", gone},
		{"random", random},
	} {
		t.Run(c.name, func(t *testing.T) {
			locks, pass := open(t)
			c.test(t, &suite{t: t, locks: locks, pass: pass})
		})
	}
}

type suite struct {
	t     *testing.T
	locks webdav.LockSystem
	pass  func(time.Duration)
}

const timeout = time.Minute

// lock takes a lock; the error is nil or a *webdav.LockedError.
func (s *suite) lock(root string, shared, infinite bool) (webdav.Lock, error) {
	s.t.Helper()
	l, err := s.locks.Create(s.t.Context(), webdav.LockRequest{Root: root, Shared: shared, Infinite: infinite,
		Owner: "owner", Principal: "anna", Timeout: timeout})
	if err != nil && !errors.Is(err, xwebdav.ErrLocked) {
		s.t.Fatalf("Create(%q): %v", root, err)
	}
	return l, err
}

// mustLock takes a lock that nothing prevents.
func (s *suite) mustLock(root string, shared, infinite bool) webdav.Lock {
	s.t.Helper()
	l, err := s.lock(root, shared, infinite)
	if err != nil {
		s.t.Fatalf("Create(%q): %v", root, err)
	}
	return l
}

func (s *suite) unlock(l webdav.Lock) {
	s.t.Helper()
	if err := s.locks.Unlock(s.t.Context(), l.Token, "anna"); err != nil {
		s.t.Fatalf("Unlock(%q): %v", l.Root, err)
	}
}

// refused wants an error that names roots.
func (s *suite) refused(err error, roots ...string) {
	s.t.Helper()
	var e *webdav.LockedError
	if !errors.As(err, &e) || !slices.Equal(e.Roots, roots) {
		s.t.Errorf("got %v, want locked at %q", err, roots)
	}
}

// confirm makes a change with some tokens and ends it.
func (s *suite) confirm(scope webdav.Scope, locks ...webdav.Lock) error {
	s.t.Helper()
	t := webdav.Tokens{Principal: "anna"}
	for _, l := range locks {
		t.Tokens = append(t.Tokens, l.Token)
	}
	release, err := s.locks.Confirm(s.t.Context(), t, scope)
	if (err == nil) != (release != nil) {
		s.t.Fatal("exactly one of release and err is not nil")
	}
	if err == nil {
		release()
	}
	return err
}

// conflicts is section 6.2 and, for depth, 6.1.
func conflicts(t *testing.T, s *suite) {
	for _, first := range []string{"d/f", "d", ""} {
		for _, firstShared := range []bool{false, true} {
			for _, firstDeep := range []bool{false, true} {
				held := s.mustLock(first, firstShared, firstDeep)
				for _, second := range []string{"d/f", "d", "", "d/g", "df"} {
					for _, shared := range []bool{false, true} {
						for _, deep := range []bool{false, true} {
							meet := first == second || firstDeep && below(second, first) || deep && below(first, second)
							l, err := s.lock(second, shared, deep)
							switch {
							case meet && !(shared && firstShared):
								s.refused(err, first)
							case err != nil:
								t.Errorf("%q (shared %v, deep %v) beside %q (%v, %v): %v", second, shared, deep, first, firstShared, firstDeep, err)
							default:
								s.unlock(l)
							}
						}
					}
				}
				s.unlock(held)
			}
		}
	}
}

func below(path, dir string) bool {
	return path != dir && (dir == "" || strings.HasPrefix(path, dir+"/"))
}

// coverage is section 7: which changes a lock is about.
func coverage(t *testing.T, s *suite) {
	for _, c := range []struct {
		root  string
		deep  bool
		scope webdav.Scope
		meets bool
	}{
		{"f", false, webdav.Scope{Path: "f"}, true},
		{"f", false, webdav.Scope{Path: "g"}, false},
		{"d", false, webdav.Scope{Path: "d/f"}, false},
		{"d", false, webdav.Scope{Path: "d/f", Names: true}, true},
		{"d", false, webdav.Scope{Path: "d/e/f", Names: true}, false},
		{"d", true, webdav.Scope{Path: "d/e/f"}, true},
		{"d", true, webdav.Scope{Path: "de", Names: true}, false},
		{"", true, webdav.Scope{Path: "d/e"}, true},
		{"", false, webdav.Scope{Path: "d", Names: true}, true},
		{"d/e/f", false, webdav.Scope{Path: "d", Names: true, Tree: true}, true},
		{"d/e/f", false, webdav.Scope{Path: "d", Names: true}, false},
	} {
		l := s.mustLock(c.root, false, c.deep)
		err := s.confirm(c.scope)
		if c.meets {
			s.refused(err, c.root)
		} else if err != nil {
			t.Errorf("%+v under a lock of %q: %v", c.scope, c.root, err)
		}
		if err := s.confirm(c.scope, l); err != nil {
			t.Errorf("%+v with the token of %q: %v", c.scope, c.root, err)
		}
		s.unlock(l)
		if err := s.confirm(c.scope); err != nil {
			t.Errorf("%+v after the unlock of %q: %v", c.scope, c.root, err)
		}
	}
	a, b := s.mustLock("f", true, false), s.mustLock("f", true, false)
	if err := s.confirm(webdav.Scope{Path: "f"}, b); err != nil { // one of the tokens is enough
		t.Error(err)
	}
	if all, err := s.locks.Covering(t.Context(), "f"); err != nil || len(all) != 2 {
		t.Errorf("Covering: got %v, %v", all, err)
	}
	s.unlock(a)
	s.unlock(b)
}

// owners is section 6.4.
func owners(t *testing.T, s *suite) {
	ctx := t.Context()
	l := s.mustLock("f", false, false)
	if !strings.HasPrefix(l.Token, "urn:uuid:") || l.Owner != "owner" || l.Root != "f" {
		t.Errorf("got %+v", l)
	}
	if _, err := s.locks.Confirm(ctx, webdav.Tokens{Principal: "bert", Tokens: []string{l.Token}}, webdav.Scope{Path: "f"}); !errors.Is(err, xwebdav.ErrLocked) {
		t.Errorf("Confirm of somebody else: got %v", err)
	}
	if err := s.locks.Unlock(ctx, l.Token, "bert"); !errors.Is(err, xwebdav.ErrForbidden) {
		t.Errorf("Unlock of somebody else: got %v", err)
	}
	if _, err := s.locks.Refresh(ctx, l.Token, "bert", timeout); !errors.Is(err, xwebdav.ErrForbidden) {
		t.Errorf("Refresh of somebody else: got %v", err)
	}
	s.unlock(l)
	if err := s.locks.Unlock(ctx, l.Token, "anna"); !errors.Is(err, xwebdav.ErrNoSuchLock) {
		t.Errorf("Unlock twice: got %v", err)
	}
	if again := s.mustLock("f", false, false); again.Token == l.Token {
		t.Error("a token was given twice")
	}
}

func expiry(t *testing.T, s *suite) {
	l := s.mustLock("f", false, false)
	s.pass(timeout / 2)
	if _, err := s.locks.Refresh(t.Context(), l.Token, "anna", 2*timeout); err != nil {
		t.Fatal(err)
	}
	s.pass(timeout)
	s.refused(s.confirm(webdav.Scope{Path: "f"}), "f")
	s.pass(2 * timeout)
	if err := s.confirm(webdav.Scope{Path: "f"}); err != nil {
		t.Errorf("after its time: %v", err)
	}
	if _, err := s.locks.Refresh(t.Context(), l.Token, "anna", timeout); !errors.Is(err, xwebdav.ErrNoSuchLock) {
		t.Errorf("Refresh after its time: got %v", err)
	}
	s.mustLock("f", false, false)
}

// holds: no lock is granted while a change that it would cover goes on.
func holds(t *testing.T, s *suite) {
	release, err := s.locks.Confirm(t.Context(), webdav.Tokens{}, webdav.Scope{Path: "d/f", Names: true})
	if err != nil {
		t.Fatal(err)
	}
	s.unlock(s.mustLock("d/g", false, false)) // not covered
	for _, r := range []webdav.LockRequest{{Root: "d/f"}, {Root: "d"}, {Root: "", Infinite: true}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		r.Timeout = timeout
		if _, err := s.locks.Create(ctx, r); err == nil {
			t.Errorf("%q was locked while it was changed", r.Root)
		}
		cancel()
	}
	got := make(chan error, 1)
	go func() {
		_, err := s.locks.Create(context.Background(), webdav.LockRequest{Root: "d/f", Timeout: timeout})
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Errorf("after the change: %v", err)
	}
}

func gone(t *testing.T, s *suite) {
	top, in, beside := s.mustLock("d", false, false), s.mustLock("d/e/f", false, false), s.mustLock("de", false, false)
	release, err := s.locks.Confirm(t.Context(), webdav.Tokens{Principal: "anna", Tokens: []string{top.Token, in.Token}},
		webdav.Scope{Path: "d", Names: true, Tree: true})
	if err != nil {
		t.Fatal(err)
	}
	release("d")
	s.mustLock("d", false, true)
	s.refused(s.confirm(webdav.Scope{Path: "de"}), beside.Root)
}

// random compares with a list, op by op.
func random(t *testing.T, s *suite) {
	rnd := rand.New(rand.NewSource(1))
	paths := []string{"", "a", "a/b", "a/b/c", "a/d", "e"}
	var held []webdav.Lock
	did := map[string]int{}
	for range 2000 {
		path := paths[rnd.Intn(len(paths))]
		switch op := rnd.Intn(4); {
		case op == 0 && len(held) > 0:
			i := rnd.Intn(len(held))
			s.unlock(held[i])
			held = slices.Delete(held, i, i+1)
			did["unlock"]++
		case op == 1:
			scope := webdav.Scope{Path: path, Names: rnd.Intn(2) == 0, Tree: rnd.Intn(2) == 0}
			want := true
			for _, l := range held {
				at := l.Root == path || l.Infinite && below(path, l.Root) || scope.Tree && below(l.Root, path)
				if scope.Names && path != "" {
					dir, _, _ := cutLast(path)
					at = at || l.Root == dir || l.Infinite && below(dir, l.Root)
				}
				want = want && !at
			}
			if err := s.confirm(scope); (err == nil) != want {
				t.Fatalf("%+v with %v held: got %v", scope, held, err)
			}
			if err := s.confirm(scope, held...); err != nil {
				t.Fatalf("%+v with all tokens: %v", scope, err)
			}
			did["confirm"]++
		default:
			shared, deep := rnd.Intn(3) > 0, rnd.Intn(3) == 0
			want := true
			for _, l := range held {
				meet := l.Root == path || l.Infinite && below(path, l.Root) || deep && below(l.Root, path)
				want = want && !(meet && !(shared && l.Shared))
			}
			l, err := s.lock(path, shared, deep)
			if (err == nil) != want {
				t.Fatalf("%q (shared %v, deep %v) with %v held: got %v", path, shared, deep, held, err)
			}
			if err == nil {
				held = append(held, l)
				did["lock"]++
			}
		}
	}
	for _, op := range []string{"lock", "unlock", "confirm"} {
		if did[op] < 100 {
			t.Errorf("%s ran %d times only", op, did[op])
		}
	}
}

// cutLast splits a path before its last name.
func cutLast(path string) (dir, name string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}
