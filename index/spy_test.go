package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/store"
)

// spy counts the requests to a store, and can make them wait or fail.
type spy struct {
	store.Store
	mu   sync.Mutex
	log  []string                                        // such as "HEAD a/b"; guarded by mu
	gate func(ctx context.Context, request string) error // before a request
	late func(ctx context.Context, request string) error // before its answer
}

// held is what keeps an answer back.
func (s *spy) held(ctx context.Context, op store.Op, key string) error {
	s.mu.Lock()
	late := s.late
	s.mu.Unlock()
	if late == nil {
		return nil
	}
	return late(ctx, string(op)+" "+key)
}

func (s *spy) note(ctx context.Context, op store.Op, key string) error {
	request := string(op) + " " + key
	s.mu.Lock()
	s.log = append(s.log, request)
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		return gate(ctx, request)
	}
	return nil
}

// take returns and forgets the requests so far, sorted: those about other
// gateways, or those that are not.
func (s *spy) take(gateways bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken, rest []string
	for _, r := range s.log {
		if strings.Contains(r, gatewaysPrefix) == gateways {
			taken = append(taken, r)
		} else {
			rest = append(rest, r)
		}
	}
	s.log = rest
	slices.Sort(taken)
	return taken
}

func (s *spy) Head(ctx context.Context, key string) (store.Info, error) {
	if err := s.note(ctx, store.OpHead, key); err != nil {
		return store.Info{}, err
	}
	info, err := s.Store.Head(ctx, key)
	return info, cmp.Or(s.held(ctx, store.OpHead, key), err)
}

func (s *spy) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	what := cmp.Or(o.Prefix, "/")
	if o.Max > 0 {
		what += fmt.Sprintf("(%d)", o.Max)
	}
	if o.Token != "" {
		what += "+"
	}
	if err := s.note(ctx, store.OpList, what); err != nil {
		return store.Page{}, err
	}
	page, err := s.Store.List(ctx, o)
	return page, cmp.Or(s.held(ctx, store.OpList, what), err)
}

func (s *spy) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	if err := s.note(ctx, store.OpPut, key); err != nil {
		return store.Info{}, err
	}
	return s.Store.Put(ctx, key, b, o)
}

func (s *spy) Delete(ctx context.Context, key string, c store.Precondition) error {
	if err := s.note(ctx, store.OpDelete, key); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, c)
}
