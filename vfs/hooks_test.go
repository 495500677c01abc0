package vfs

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
)

// hooked calls back around requests.
type hooked struct {
	store.Store
	beforeGet, afterGet   func(key string)
	beforePut             func(key string)
	afterPut              func(key string) error // an error makes a PUT that was carried out fail
	beforeCopy, afterCopy func(src, dst string)
	beforeDelete          func(key string) error
	beforeHead            func(key string)
}

func (h *hooked) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	if h.beforeGet != nil {
		h.beforeGet(key)
	}
	obj, err := h.Store.Get(ctx, key, o)
	if h.afterGet != nil {
		h.afterGet(key)
	}
	return obj, err
}

func (h *hooked) Head(ctx context.Context, key string) (store.Info, error) {
	if h.beforeHead != nil {
		h.beforeHead(key)
	}
	return h.Store.Head(ctx, key)
}

func (h *hooked) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	if h.beforePut != nil {
		h.beforePut(key)
	}
	info, err := h.Store.Put(ctx, key, b, o)
	if h.afterPut != nil {
		if e := h.afterPut(key); e != nil && err == nil {
			return store.Info{}, e
		}
	}
	return info, err
}

func (h *hooked) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	if h.beforeCopy != nil {
		h.beforeCopy(src, dst)
	}
	info, err := h.Store.Copy(ctx, src, dst, o)
	if h.afterCopy != nil {
		h.afterCopy(src, dst)
	}
	return info, err
}

func (h *hooked) Delete(ctx context.Context, key string, p store.Precondition) error {
	if h.beforeDelete != nil {
		if err := h.beforeDelete(key); err != nil {
			return err
		}
	}
	return h.Store.Delete(ctx, key, p)
}

func (h *hooked) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	if h.beforeDelete != nil {
		for _, k := range keys {
			if err := h.beforeDelete(k); err != nil {
				return nil, err
			}
		}
	}
	return h.Store.DeleteMany(ctx, keys)
}

func unavailable(op store.Op, key string) error {
	return &store.Error{Op: op, Key: key, Kind: store.Unavailable, Err: errors.New("on purpose")}
}

func objectOf(t *testing.T, s store.Store, key string) (string, store.Info, bool) {
	t.Helper()
	obj, err := s.Get(context.Background(), key, store.GetOptions{})
	if err != nil {
		return "", store.Info{}, false
	}
	defer obj.Body.Close()
	buf := make([]byte, obj.Info.Size)
	n := 0
	for n < len(buf) {
		m, err := obj.Body.Read(buf[n:])
		n += m
		if err != nil {
			break
		}
	}
	return string(buf[:n]), obj.Info, true
}

func eventually(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
