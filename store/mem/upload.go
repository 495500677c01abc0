package mem

import (
	"context"
	"crypto/md5" //nolint:gosec // the ETag of S3 is an MD5 sum
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

type upload struct {
	key     string
	meta    store.Metadata
	started time.Time
	parts   map[int]part
}

type part struct {
	data []byte
	etag store.ETag
}

// CreateUpload implements [store.Uploader].
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	if err := begin(ctx, store.OpCreateUpload, key); err != nil {
		return "", err
	}
	if err := store.CheckMetadata(opts.Meta); err != nil {
		return "", fail(store.OpCreateUpload, key, store.Invalid, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	id := store.UploadID(fmt.Sprintf("upload-%d", s.nextID))
	s.uploads[id] = &upload{key: key, meta: maps.Clone(opts.Meta), started: s.Now(), parts: map[int]part{}}
	return id, nil
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	if err := begin(ctx, store.OpUploadPart, key); err != nil {
		return store.Part{}, err
	}
	data, err := readAll(body)
	if err != nil {
		return store.Part{}, fail(store.OpUploadPart, key, store.Other, err)
	}
	etag := sum(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addPartLocked(store.OpUploadPart, key, id, number, part{data, etag})
}

func (s *Store) addPartLocked(op store.Op, key string, id store.UploadID, number int, p part) (store.Part, error) {
	if number < 1 || number > store.MaxParts {
		return store.Part{}, fail(op, key, store.Invalid, fmt.Errorf("part number %d", number))
	}
	up := s.uploads[id]
	if up == nil || up.key != key {
		return store.Part{}, fail(op, key, store.NotExist, fmt.Errorf("no upload %s", id))
	}
	up.parts[number] = p
	return store.Part{Number: number, ETag: p.etag, Size: int64(len(p.data))}, nil
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, etag store.ETag, offset, length int64) (store.Part, error) {
	const op = store.OpCopyPart
	if err := begin(ctx, op, key, src); err != nil {
		return store.Part{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.objects[src]
	if from == nil {
		return store.Part{}, fail(op, src, store.NotExist, nil)
	}
	if etag != "" && etag != from.info.ETag {
		return store.Part{}, fail(op, src, store.PreconditionFailed, nil)
	}
	if offset < 0 || length <= 0 || offset+length > from.info.Size {
		return store.Part{}, fail(op, src, store.OutOfRange, fmt.Errorf("%d bytes from %d of %d", length, offset, from.info.Size))
	}
	data := from.data[offset : offset+length]
	return s.addPartLocked(op, key, id, number, part{data, sum(data)})
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	const op = store.OpComplete
	if err := begin(ctx, op, key); err != nil {
		return store.Info{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.uploads[id]
	if up == nil || up.key != key {
		return store.Info{}, fail(op, key, store.NotExist, fmt.Errorf("no upload %s", id))
	}
	data, etag, err := s.assembleLocked(up, parts)
	if err != nil {
		return store.Info{}, fail(op, key, store.Invalid, err)
	}
	if err := s.checkLocked(op, key, opts.If); err != nil {
		return store.Info{}, err
	}
	delete(s.uploads, id)
	obj := newObject(key, data, etag, up.meta)
	s.storeLocked(obj)
	return written(obj), nil
}

// assembleLocked joins the parts by the rules of S3.
func (s *Store) assembleLocked(up *upload, parts []store.Part) ([]byte, store.ETag, error) {
	if len(parts) == 0 {
		return nil, "", errors.New("no parts")
	}
	var data, sums []byte
	last := 0
	for i, want := range parts {
		have, ok := up.parts[want.Number]
		switch {
		case want.Number <= last:
			return nil, "", errors.New("part numbers do not ascend")
		case !ok || have.etag != want.ETag:
			return nil, "", fmt.Errorf("part %d was not uploaded like this", want.Number)
		case i < len(parts)-1 && int64(len(have.data)) < s.MinPartSize:
			return nil, "", fmt.Errorf("part %d is too small", want.Number)
		}
		last = want.Number
		data = append(data, have.data...)
		raw, err := hex.DecodeString(string(have.etag))
		if err != nil {
			return nil, "", err
		}
		sums = append(sums, raw...)
	}
	h := md5.Sum(sums) //nolint:gosec // see the import
	return data, store.ETag(fmt.Sprintf("%x-%d", h, len(parts))), nil
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	if err := begin(ctx, store.OpAbort, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if up := s.uploads[id]; up != nil && up.key == key {
		delete(s.uploads, id)
	}
	return nil
}

// ListUploads implements [store.UploadLister].
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]store.Upload, error) {
	if err := ended(ctx, store.OpListUploads, prefix); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []store.Upload
	for id, up := range s.uploads {
		if strings.HasPrefix(up.key, prefix) {
			all = append(all, store.Upload{Key: up.key, ID: id, Started: up.started})
		}
	}
	slices.SortFunc(all, func(a, b store.Upload) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return a.Started.Compare(b.Started)
	})
	return all, nil
}
