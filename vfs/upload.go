package vfs

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// A file over singleCommit bytes is a multipart upload. One that is written
// from its start is sent while it is written: as soon as a part is behind the
// writer, it goes. The commit then sends what is left, sends again what was
// changed since, and lets S3 copy the parts that are unchanged from the
// version that the file was edited from.
const (
	uploadParallel = 4
	sendAheadFrom  = 2 * smallPart // bytes written before parts are sent ahead
	copyRun        = 512 << 20     // bytes that one UploadPartCopy covers
	uploadAttempts = 3             // times that a Conflict makes an upload begin anew
	mtimeSlack     = 2 * time.Second
)

// upload is a multipart upload of one file on its way.
type upload struct {
	fs    *FS
	c     *content
	key   string
	entry index.Entry    // attributes that the object gets
	meta  store.Metadata // if set, goes in place of them

	mu      sync.Mutex
	id      store.UploadID
	err     error // the first failure: the parts are not used then
	sent    map[int]sentPart
	next    int // the first part that nobody has begun to send
	limit   int // parts below are complete behind the writer
	workers int
	idle    chan struct{} // closed when the last worker ends
}

// sentPart is a part in S3 and the state of the bytes that it has.
type sentPart struct {
	part store.Part
	gen  uint64
}

// sendAhead sends parts that the writer of a new file has left behind.
func (fs *FS) sendAhead(f *file) {
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	size := f.content.length()
	if fs.opts.CommitLocal || size < sendAheadFrom || !f.wholeLocked() || f.newLocked() || f.staged || f.removed || f.superseded {
		return
	}
	up := f.upload
	if up == nil {
		path, ok := fs.nodes.path(n)
		if !ok {
			return
		}
		up = &upload{fs: fs, c: f.content, key: path, entry: f.entry, sent: map[int]sentPart{}}
		f.upload = up
	}
	up.advance(partOf(size))
}

// takeUploadLocked takes the upload away from f. n.mu is held.
func (f *file) takeUploadLocked() *upload {
	up := f.upload
	f.upload = nil
	return up
}

// dropUpload aborts an upload that will not be completed.
func (fs *FS) dropUpload(up *upload) {
	if up == nil {
		return
	}
	fs.start(func(ctx context.Context) {
		up.stop()
		up.abort(context.WithoutCancel(ctx))
	})
}

// advance lets workers send the parts below limit.
func (u *upload) advance(limit int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limit = max(u.limit, limit)
	for u.err == nil && u.workers < uploadParallel && u.workers < u.limit-u.next {
		if u.workers == 0 {
			u.idle = make(chan struct{})
		}
		u.workers++
		u.fs.start(u.work)
	}
}

// work sends parts until none is left.
func (u *upload) work(ctx context.Context) {
	for {
		u.mu.Lock()
		if u.err != nil || u.next >= u.limit {
			if u.workers--; u.workers == 0 {
				close(u.idle)
			}
			u.mu.Unlock()
			return
		}
		k := u.next
		u.next++
		u.mu.Unlock()
		if err := u.sendPart(ctx, k, partStart(k+1)); err != nil {
			u.fail(err)
		}
	}
}

func (u *upload) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
}

// stop waits for the workers. No new ones begin before the next advance.
func (u *upload) stop() {
	u.mu.Lock()
	u.limit = u.next
	idle := u.idle
	u.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// begin makes the upload known to S3, once.
func (u *upload) begin(ctx context.Context) (store.UploadID, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.id != "" || u.err != nil {
		return u.id, u.err
	}
	meta, err := u.metadata()
	if err != nil {
		return "", err
	}
	if err := u.fs.announce(ctx); err != nil {
		return "", err
	}
	id, err := u.fs.store.CreateUpload(ctx, u.key, store.PutOptions{Meta: meta, ContentType: contentType(u.entry)})
	if err != nil {
		return "", err
	}
	u.id = id
	u.fs.state.noteUpload(u.key, id)
	return id, nil
}

// sendPart sends part k, whose bytes end at end.
func (u *upload) sendPart(ctx context.Context, k int, end int64) error {
	ctx, cancel := context.WithTimeout(ctx, u.fs.transferTime(end-partStart(k)))
	defer cancel()
	id, err := u.begin(ctx)
	if err != nil {
		return err
	}
	// Whoever drops the upload does not wait for its parts before the content ends.
	if err := u.c.use(); err != nil {
		return err
	}
	defer u.c.done()
	lo := partStart(k)
	if err := u.c.ensure(ctx, lo, end); err != nil {
		return err
	}
	gen := u.c.generation()
	part, err := u.fs.store.UploadPart(ctx, u.key, id, k+1, store.Body{Reader: section{u.c, lo}, Size: end - lo})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent[k] = sentPart{part, gen}
	return nil
}

// section reads the local file of a content from an offset.
type section struct {
	c  *content
	lo int64
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.c.file.ReadAt(p, s.lo+off)
	if err == io.EOF && n == len(p) {
		err = nil
	}
	return n, err
}

func (u *upload) abort(ctx context.Context) {
	u.mu.Lock()
	id := u.id
	u.mu.Unlock()
	if id == "" {
		return
	}
	ctx, cancel := u.fs.withTimeout(ctx)
	defer cancel()
	if err := u.fs.store.Abort(ctx, u.key, id); err != nil {
		u.fs.noteError(u.fs.fault("abort upload", u.key, err))
		return
	}
	u.fs.state.forgetUpload(id)
}

// shipParts commits a large file. Writers wait until it is sent.
func (fs *FS) shipParts(ctx context.Context, s *shipment) error {
	f := s.f
	f.node.mu.Lock()
	up := f.takeUploadLocked()
	f.node.mu.Unlock()
	s.c.freeze()
	defer s.c.thaw()
	s.gen = s.c.generation()
	if s.c.length() <= singleCommit { // truncated meanwhile
		fs.dropUpload(up)
		return fs.shipWhole(ctx, s)
	}
	for attempt := 1; ; attempt++ {
		if up = fs.usable(up, s); up == nil {
			up = &upload{fs: fs, c: s.c, key: s.key, entry: s.entry, meta: s.meta, sent: map[int]sentPart{}}
		}
		err := up.finish(ctx, s)
		if err == nil {
			return nil
		}
		fs.dropUpload(up)
		up = nil
		if !store.IsKind(err, store.Conflict) || attempt == uploadAttempts {
			return err
		}
	}
}

// usable returns up if its parts and attributes can serve s. The attributes of
// an upload are those of its beginning: a time of change that is only a
// little earlier is kept as it was sent, other differences follow later.
func (fs *FS) usable(up *upload, s *shipment) *upload {
	if up == nil {
		return nil
	}
	up.stop()
	up.mu.Lock()
	bad := up.err != nil || up.id == "" || up.key != s.key || up.c != s.c
	up.mu.Unlock()
	if bad {
		fs.dropUpload(up)
		return nil
	}
	if d := s.entry.Mtime.Sub(up.entry.Mtime); s.entry.Attr == up.entry.Attr && d >= 0 && d <= mtimeSlack {
		s.entry.Mtime = up.entry.Mtime
		s.f.node.mu.Lock()
		s.f.entry.Mtime = up.entry.Mtime
		s.f.node.mu.Unlock()
	} else {
		s.lateTag = true
	}
	return up
}

// finish sends what is missing and completes the upload.
func (u *upload) finish(ctx context.Context, s *shipment) error {
	size := s.c.length()
	id, err := u.begin(ctx)
	if err != nil {
		return err
	}
	parts, err := u.rest(ctx, s, id, size)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, u.fs.transferTime(size))
	defer cancel()
	meta, err := u.metadata()
	if err != nil {
		return err
	}
	info, err := u.fs.store.Complete(ctx, u.key, id, parts, store.PutOptions{Meta: meta, If: s.cond})
	if err != nil {
		return err
	}
	u.fs.state.forgetUpload(id)
	s.entry.ETag, s.entry.Size, s.entry.Modified = info.ETag, size, info.Modified
	return nil
}

func (u *upload) metadata() (store.Metadata, error) {
	if u.meta != nil {
		return u.meta, nil
	}
	return u.fs.encode(u.entry)
}

// rest sends or copies every part that is not there yet, and returns all.
func (u *upload) rest(ctx context.Context, s *shipment, id store.UploadID, size int64) ([]store.Part, error) {
	c := s.c
	c.mu.Lock()
	o := c.origin
	var send []int
	var copies []extent
	for k := 0; partStart(k) < size; k++ {
		lo, hi := partStart(k), min(partStart(k+1), size)
		sent, ok := u.sent[k]
		changed := c.parts[k]
		switch {
		case ok && sent.gen >= changed && sent.part.Size == hi-lo:
		case o.etag != "" && changed <= s.base && hi <= o.size:
			if last := len(copies) - 1; last >= 0 && copies[last].hi == lo && hi-copies[last].lo <= copyRun {
				copies[last].hi = hi
			} else {
				copies = append(copies, extent{lo, hi})
			}
		default:
			send = append(send, k)
		}
	}
	c.mu.Unlock()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadParallel)
	for _, k := range send {
		group.Go(func() error { return u.sendPart(gctx, k, min(partStart(k+1), size)) })
	}
	for _, run := range copies {
		group.Go(func() error { return u.copyPart(gctx, id, o, run, s.gen) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var parts []store.Part
	for k, sent := range u.sent {
		if partStart(k) >= size {
			continue
		}
		parts = append(parts, sent.part)
	}
	slices.SortFunc(parts, func(a, b store.Part) int { return a.Number - b.Number })
	return parts, nil
}

// copyPart lets S3 copy a run of unchanged parts as one.
func (u *upload) copyPart(ctx context.Context, id store.UploadID, o origin, run extent, gen uint64) error {
	ctx, cancel := context.WithTimeout(ctx, u.fs.transferTime(run.hi-run.lo))
	defer cancel()
	k := partOf(run.lo)
	part, err := u.fs.store.CopyPart(ctx, u.key, id, k+1, o.key, o.etag, run.lo, run.hi-run.lo)
	if err != nil {
		return err
	}
	part.Size = run.hi - run.lo
	u.mu.Lock()
	defer u.mu.Unlock()
	for j := k; partStart(j) < run.hi; j++ {
		delete(u.sent, j)
	}
	u.sent[k] = sentPart{part, gen}
	return nil
}

// abortLeft drops uploads that an earlier run of this gateway left behind.
func (fs *FS) abortLeft(ctx context.Context, left []store.Upload) {
	for _, l := range left {
		up := &upload{fs: fs, key: l.Key, id: l.ID}
		up.abort(ctx)
	}
}
