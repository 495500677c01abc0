// Package mem is a [store.Store] in memory. It is a whole implementation of
// the contract, not a mock: all preconditions are atomic, and ETags and the
// rules for parts are those of S3. Tests of other packages use it where no
// server is needed.
//
// One mutex guards everything; a request holds it only to look up or replace
// an object, so bodies are read and hashed in parallel.
package mem

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the ETag of S3 is an MD5 sum
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Store is the store. Create it with [New].
type Store struct {
	// Now is the server's clock. Set it before the first request, or leave it.
	Now func() time.Time
	// MinPartSize is the least size in bytes of parts but the last one,
	// checked by Complete. New sets [store.MinPartSize].
	MinPartSize int64

	mu      sync.Mutex
	objects map[string]*object // guarded by mu; an *object never changes
	keys    []string           // guarded by mu; the keys of objects, sorted
	uploads map[store.UploadID]*upload
	nextID  int
}

type object struct {
	data []byte
	info store.Info
}

var (
	_ store.Store        = (*Store)(nil)
	_ store.UploadLister = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		Now:         time.Now,
		MinPartSize: store.MinPartSize,
		objects:     map[string]*object{},
		uploads:     map[store.UploadID]*upload{},
	}
}

// Len returns the number of objects.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

func fail(op store.Op, key string, kind store.Kind, err error) error {
	return &store.Error{Op: op, Key: key, Kind: kind, Err: err}
}

// ended reports a context that is over, as a Store reports it.
func ended(ctx context.Context, op store.Op, key string) error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fail(op, key, store.Timeout, err)
	}
	return fail(op, key, store.Canceled, err)
}

// begin checks what every request about keys checks first.
func begin(ctx context.Context, op store.Op, keys ...string) error {
	if err := ended(ctx, op, keys[0]); err != nil {
		return err
	}
	for _, key := range keys {
		if err := store.CheckKey(key); err != nil {
			return fail(op, key, store.Invalid, err)
		}
	}
	return nil
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	if err := begin(ctx, store.OpGet, key); err != nil {
		return nil, err
	}
	obj := s.lookup(key)
	if obj == nil {
		return nil, fail(store.OpGet, key, store.NotExist, nil)
	}
	if opts.IfMatch != "" && opts.IfMatch != obj.info.ETag {
		return nil, fail(store.OpGet, key, store.PreconditionFailed, nil)
	}
	if opts.IfNoneMatch != "" && opts.IfNoneMatch == obj.info.ETag {
		return nil, fail(store.OpGet, key, store.NotModified, nil)
	}
	size := obj.info.Size
	if opts.Offset < 0 || opts.Length < 0 {
		return nil, fail(store.OpGet, key, store.Invalid, errors.New("negative range"))
	}
	if opts.Offset > 0 && opts.Offset >= size {
		return nil, fail(store.OpGet, key, store.OutOfRange, nil)
	}
	length := size - opts.Offset
	if opts.Length > 0 {
		length = min(length, opts.Length)
	}
	body := &body{ctx: ctx, key: key, r: bytes.NewReader(obj.data[opts.Offset : opts.Offset+length])}
	return &store.Object{Info: obj.describe(), Offset: opts.Offset, Length: length, Body: body}, nil
}

// body ends with the context of its Get, as a connection does.
type body struct {
	ctx context.Context
	key string
	r   *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if err := ended(b.ctx, store.OpGet, b.key); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

func (b *body) Close() error { return nil }

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	if err := begin(ctx, store.OpHead, key); err != nil {
		return store.Info{}, err
	}
	obj := s.lookup(key)
	if obj == nil {
		return store.Info{}, fail(store.OpHead, key, store.NotExist, nil)
	}
	return obj.describe(), nil
}

func (s *Store) lookup(key string) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

func (o *object) describe() store.Info {
	info := o.info
	info.Meta = maps.Clone(info.Meta)
	return info
}

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	if err := begin(ctx, store.OpPut, key); err != nil {
		return store.Info{}, err
	}
	if err := store.CheckMetadata(opts.Meta); err != nil {
		return store.Info{}, fail(store.OpPut, key, store.Invalid, err)
	}
	data, err := readAll(body)
	if err != nil {
		return store.Info{}, fail(store.OpPut, key, store.Other, err)
	}
	obj := newObject(key, data, sum(data), opts.Meta)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLocked(store.OpPut, key, opts.If); err != nil {
		return store.Info{}, err
	}
	s.storeLocked(obj)
	return written(obj), nil
}

func readAll(b store.Body) ([]byte, error) {
	data := make([]byte, b.Size)
	if b.Size == 0 {
		return data, nil
	}
	if n, err := b.Reader.ReadAt(data, 0); int64(n) < b.Size {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read body: %w", err)
	}
	return data, nil
}

func sum(data []byte) store.ETag {
	h := md5.Sum(data) //nolint:gosec // see the import
	return store.ETag(hex.EncodeToString(h[:]))
}

func newObject(key string, data []byte, etag store.ETag, meta store.Metadata) *object {
	meta = maps.Clone(meta)
	if meta == nil {
		meta = store.Metadata{}
	}
	return &object{data: data, info: store.Info{Key: key, Size: int64(len(data)), ETag: etag, Meta: meta}}
}

// written is what a write reports: the server's time is not part of it.
func written(obj *object) store.Info {
	info := obj.describe()
	info.Modified = time.Time{}
	return info
}

// checkLocked verifies a precondition. s.mu is held, and stays so until the
// write is done.
func (s *Store) checkLocked(op store.Op, key string, cond store.Precondition) error {
	obj := s.objects[key]
	switch {
	case cond.Absent && obj != nil:
		return fail(op, key, store.PreconditionFailed, errors.New("the key exists"))
	case cond.Match != "" && obj == nil:
		return fail(op, key, store.NotExist, nil)
	case cond.Match != "" && obj.info.ETag != cond.Match:
		return fail(op, key, store.PreconditionFailed, fmt.Errorf("the version is %s, not %s", obj.info.ETag, cond.Match))
	}
	return nil
}

func (s *Store) storeLocked(obj *object) {
	obj.info.Modified = s.Now()
	key := obj.info.Key
	if s.objects[key] == nil {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.objects[key] = obj
}

func (s *Store) removeLocked(key string) {
	if s.objects[key] == nil {
		return
	}
	delete(s.objects, key)
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Delete(s.keys, i, i+1)
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	if err := begin(ctx, store.OpCopy, dst, src); err != nil {
		return store.Info{}, err
	}
	if err := store.CheckMetadata(opts.Meta); err != nil {
		return store.Info{}, fail(store.OpCopy, dst, store.Invalid, err)
	}
	if src == dst && opts.Meta == nil {
		return store.Info{}, fail(store.OpCopy, dst, store.Invalid, errors.New("copy onto itself changes nothing"))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.objects[src]
	if from == nil {
		return store.Info{}, fail(store.OpCopy, src, store.NotExist, nil)
	}
	if opts.SourceIf != "" && opts.SourceIf != from.info.ETag {
		return store.Info{}, fail(store.OpCopy, src, store.PreconditionFailed, nil)
	}
	if err := s.checkLocked(store.OpCopy, dst, opts.If); err != nil {
		return store.Info{}, err
	}
	meta := opts.Meta
	if meta == nil {
		meta = from.info.Meta
	}
	obj := newObject(dst, from.data, sum(from.data), meta)
	s.storeLocked(obj)
	info := obj.describe()
	info.Size, info.Meta = -1, maps.Clone(opts.Meta)
	return info, nil
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	if err := begin(ctx, store.OpDelete, key); err != nil {
		return err
	}
	if cond.Absent {
		return fail(store.OpDelete, key, store.Invalid, errors.New("delete of an absent key"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLocked(store.OpDelete, key, cond); err != nil {
		return err
	}
	s.removeLocked(key)
	return nil
}

// DeleteMany implements [store.Writer].
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if err := begin(ctx, store.OpDeleteMany, keys...); err != nil {
		return nil, err
	}
	if len(keys) > store.MaxDeleteMany {
		return nil, fail(store.OpDeleteMany, "", store.Invalid, fmt.Errorf("%d keys in one request", len(keys)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.removeLocked(key)
	}
	return nil, nil
}
