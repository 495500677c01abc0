package vfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Where records of operations on trees are, and what they have copied. The
// second is no prefix of the first: some servers cannot hold both a and a/b.
const (
	treesPrefix     = reserved + "/trees/"
	treePartsPrefix = reserved + "/tree-parts/"
)

// treeVersion is the format of treeRecord and treeFact.
const treeVersion = 1

// Operations on trees.
const (
	treeRename = "rename"
	treeRemove = "remove"
)

// Phases of an operation on a tree.
const (
	phaseCopying  = "copying"          // nothing has been deleted
	phaseRemoving = "removing sources" // every source that the parts name is copied
	phaseUndoing  = "undoing"          // the copies go; the sources stay
)

// treeRecord is the object treesPrefix+ID. It is made with If-None-Match, and
// changed only with If-Match and a new nonce, so that each change has one
// winner.
type treeRecord struct {
	Version   int            `json:"version"`
	ID        string         `json:"id"`
	Op        string         `json:"op"`
	Src       string         `json:"src"` // paths of directories
	Dst       string         `json:"dst,omitempty"`
	Exclusive bool           `json:"exclusive,omitempty"` // dst must be claimed
	Meta      store.Metadata `json:"meta,omitempty"`      // of a marker that is made for dst
	Phase     string         `json:"phase"`

	Owner string `json:"owner"` // gateway, for people
	State string `json:"state"` // id of its state directory
	Epoch int    `json:"epoch"` // how often it was taken over
	Beat  int64  `json:"beat"`
	Nonce string `json:"nonce"`

	// Cut, of a removal, is when it began, by the server's clock. A record
	// that was never changed has it as its LastModified.
	Cut time.Time `json:"cut,omitzero"`
}

// overlaps reports whether two operations touch the same tree.
func (r *treeRecord) overlaps(o *treeRecord) bool {
	within := func(a, b string) bool { return a == b || strings.HasPrefix(a, b+"/") }
	for _, a := range []string{r.Src, r.Dst} {
		for _, b := range []string{o.Src, o.Dst} {
			if a != "" && b != "" && (within(a, b) || within(b, a)) {
				return true
			}
		}
	}
	return false
}

// treeFact is what is known of one source. Parts are JSON arrays of them. It
// is written before the copy is begun, and again with Done when it is made.
type treeFact struct {
	Key      string     `json:"k"` // below the directory
	ETag     store.ETag `json:"s"` // of the source, with
	Modified time.Time  `json:"m"`
	Before   store.ETag `json:"b,omitempty"` // what the target held before; empty: nothing
	Ours     bool       `json:"o,omitempty"` // that was a copy of an older source
	Copy     store.ETag `json:"d,omitempty"` // the copy; empty: the target was there, and stands
	Done     bool       `json:"c,omitempty"`

	pass int // the last one whose listing had the source
}

// of reports whether the fact is about this version of the source.
func (f *treeFact) of(src store.Info) bool {
	return f.ETag == src.ETag && f.Modified.Equal(src.Modified)
}

// newerTreeError says that a record is of a later program.
type newerTreeError struct {
	key     string
	version int
}

func (e *newerTreeError) Error() string {
	return fmt.Sprintf("%s has version %d, and this program knows %d: a newer gateway must finish it", e.key, e.version, treeVersion)
}

// errFenced ends an operation that somebody else has taken over.
var errFenced = errors.New("another gateway has taken the operation over and finishes it")

// readTree gets a record with its version.
func (fs *FS) readTree(ctx context.Context, key string) (treeRecord, store.Info, error) {
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	text, info, err := fs.readSmall(ctx, key)
	if err != nil {
		return treeRecord{}, info, err
	}
	var rec treeRecord
	if err := json.Unmarshal(text, &rec); err != nil {
		return rec, info, fmt.Errorf("read %s: %w", key, err)
	}
	if rec.Version > treeVersion {
		return rec, info, &newerTreeError{key: key, version: rec.Version}
	}
	if rec.ID != strings.TrimPrefix(key, treesPrefix) || rec.Src == "" || (rec.Op == treeRename) != (rec.Dst != "") {
		return rec, info, fmt.Errorf("read %s: not a record of an operation on a tree", key)
	}
	return rec, info, nil
}

// readSmall gets an object of Causeway's own.
func (fs *FS) readSmall(ctx context.Context, key string) ([]byte, store.Info, error) {
	obj, err := fs.store.Get(ctx, key, store.GetOptions{})
	if err != nil {
		return nil, store.Info{}, err
	}
	defer obj.Body.Close()
	text, err := io.ReadAll(obj.Body)
	return text, obj.Info, err
}

// putJSON stores v, and returns the version.
func (fs *FS) putJSON(ctx context.Context, key string, v any, cond store.Precondition) (store.ETag, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	body := store.Body{Reader: bytes.NewReader(text), Size: int64(len(text))}
	info, err := fs.store.Put(ctx, key, body, store.PutOptions{ContentType: "application/json", If: cond})
	return info.ETag, err
}

// swap changes the record, or finds that it is no longer this gateway's.
func (t *treeTask) swap(ctx context.Context, change func(*treeRecord)) error {
	t.beating.Lock()
	defer t.beating.Unlock()
	if t.finished {
		return nil
	}
	t.mu.Lock()
	rec, etag := t.rec, t.etag
	t.mu.Unlock()
	was, began := rec.Nonce, t.fs.now()
	change(&rec)
	rec.Nonce = rand.Text()
	key := treesPrefix + rec.ID
	now, err := t.fs.putJSON(ctx, key, rec, store.IfMatch(etag))
	if err != nil {
		// The answer may have been lost: the nonce tells whose version it is.
		there, info, e := t.fs.readTree(ctx, key)
		switch {
		case e == nil && there.Nonce == rec.Nonce:
			now = info.ETag
		case store.IsKind(e, store.NotExist) || e == nil && there.Nonce != was:
			t.fence()
			return errFenced
		default:
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.etag, t.proven = now, began
	t.rec.Nonce, t.rec.Beat = rec.Nonce, rec.Beat
	if t.rec.Phase != rec.Phase || t.rec.Epoch != rec.Epoch {
		t.rec = rec // by the goroutine of run, which may read the rest without the lock
	}
	return nil
}

// loadFacts reads what earlier owners have copied.
func (t *treeTask) loadFacts(ctx context.Context) error {
	opts := store.ListOptions{Prefix: t.partsPrefix()}
	for {
		page, err := t.fs.store.List(ctx, opts)
		if err != nil {
			return err
		}
		for _, obj := range page.Objects {
			text, _, err := t.fs.readSmall(ctx, obj.Key)
			if err != nil {
				return err
			}
			var facts []treeFact
			if err := json.Unmarshal(text, &facts); err != nil {
				return fmt.Errorf("read %s: %w", obj.Key, err)
			}
			for _, f := range facts {
				t.known[f.Key] = f
			}
			t.parts++
		}
		if page.Next == "" {
			return nil
		}
		opts.Token = page.Next
	}
}

func (t *treeTask) partsPrefix() string { return treePartsPrefix + t.rec.ID + "/" }

// saveFacts writes part n of this owner's epoch.
func (t *treeTask) saveFacts(ctx context.Context, n int, facts []treeFact) error {
	if err := t.hold(ctx); err != nil {
		return err
	}
	_, err := t.fs.putJSON(ctx, t.partKey(n), facts, store.Always)
	return err
}

// partKey is the key of part n of this owner's epoch.
func (t *treeTask) partKey(n int) string {
	return fmt.Sprintf("%s%06d-%06d", t.partsPrefix(), t.rec.Epoch, n)
}

// dropParts removes all parts. Those of earlier owners must be asked for.
func (t *treeTask) dropParts(ctx context.Context) error {
	if !t.resumed {
		own := make([]store.Info, t.parts)
		for n := range own {
			own[n].Key = t.partKey(n)
		}
		return t.deleteMany(ctx, own)
	}
	opts := store.ListOptions{Prefix: t.partsPrefix()}
	for {
		page, err := t.fs.store.List(ctx, opts)
		if err != nil {
			return err
		}
		if err := t.deleteMany(ctx, page.Objects); err != nil || page.Next == "" {
			return err
		}
		opts.Token = page.Next
	}
}

// end is finish for an operation that is done: what is left of it is removed
// later if it cannot be now.
func (t *treeTask) end(ctx context.Context) {
	if err := t.finish(ctx); err != nil && !errors.Is(err, errFenced) {
		t.fs.noteError(fmt.Errorf("remove the record of an operation on a tree: %w", err))
	}
}

// finish removes the parts and then the record.
func (t *treeTask) finish(ctx context.Context) error {
	if err := t.hold(ctx); err != nil {
		return err
	}
	if err := t.dropParts(ctx); err != nil {
		return err
	}
	t.beating.Lock() // no heartbeat comes in between
	defer t.beating.Unlock()
	t.finished = true
	cond := store.Always
	if t.fs.opts.Capabilities.DeleteIf {
		cond = store.IfMatch(t.etag)
	}
	err := t.fs.store.Delete(ctx, treesPrefix+t.rec.ID, cond)
	if store.IsKind(err, store.NotExist) || store.IsKind(err, store.PreconditionFailed) {
		return nil // somebody else has taken over, and finds nothing left to do
	}
	return err
}
