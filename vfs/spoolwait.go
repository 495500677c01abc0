package vfs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// wait returns when all that the spool held at the call of the paths that match
// is over, and how many of that S3 did not take.
func (s *spool) wait(ctx context.Context, match func(path string) bool) (refused int, err error) {
	s.mu.Lock()
	if len(s.slots) == 0 {
		s.mu.Unlock()
		return 0, nil
	}
	s.mu.Unlock()
	s.rush(1)
	defer s.rush(-1)
	s.mu.Lock()
	var all []*parcel
	for path, sl := range s.slots {
		if !match(path) {
			continue
		}
		for _, p := range []*parcel{sl.sending, sl.waiting} {
			if p != nil {
				all = append(all, p)
			}
		}
	}
	s.mu.Unlock()
	for _, p := range all {
		for p != nil {
			if err := await(ctx, p.over); err != nil {
				return refused, err
			}
			s.mu.Lock()
			if p.err != nil {
				refused++
			}
			p = p.next
			s.mu.Unlock()
		}
	}
	return refused, nil
}

// rush counts callers that wait, for whom sending begins at once.
func (s *spool) rush(n int) {
	s.mu.Lock()
	s.hurry += n
	s.mu.Unlock()
	if n > 0 {
		s.pump()
	}
}

// prefer lets a path be the next to be sent, since somebody waits for it.
func (s *spool) prefer(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, path); i > 0 {
		s.queue = slices.Insert(slices.Delete(s.queue, i, i+1), 0, path)
	}
}

// whileMoving is a context that ends, with DeadlineExceeded as its cause, when
// no parcel of any path was over for as long as limit. A line that is slow is
// shared by all that is being sent, so that what one parcel takes depends on
// the others; S3 that takes nothing is what nobody has to wait for.
func (s *spool) whileMoving(ctx context.Context, limit time.Duration) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.fs.start(func(context.Context) { // ends with ctx
		for {
			s.mu.Lock()
			changed := s.changed
			s.mu.Unlock()
			still := time.NewTimer(limit)
			select {
			case <-changed:
			case <-still.C:
				cancel(context.DeadlineExceeded)
			case <-ctx.Done():
			}
			still.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	})
	return ctx, cancel
}

// below matches a path and all paths below it.
func below(dir string) func(string) bool {
	return func(path string) bool {
		return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
	}
}

// room returns when size more bytes fit. Kind NoSpace if they do not, and S3
// takes none of what is there.
func (s *spool) room(ctx context.Context, size int64) error {
	ctx, cancel := s.fs.withTimeout(ctx)
	defer cancel()
	for rushed := false; ; {
		s.mu.Lock()
		full, changed := s.fullLocked(size), s.changed
		stuck := s.pause >= time.Second
		s.mu.Unlock()
		if full == nil {
			return nil
		}
		if !rushed {
			rushed = true
			s.rush(1)
			defer s.rush(-1)
		}
		if stuck || await(ctx, changed) != nil {
			return &Error{Op: "write", Kind: NoSpace, Err: full}
		}
	}
}

// fullLocked says why size more bytes do not fit; nil if they do.
func (s *spool) fullLocked(size int64) error {
	switch o := s.fs.opts; {
	case s.count == 0:
		return nil
	case s.count >= o.SpoolFiles:
		return errors.New("too many files wait to be sent to S3 (--spool-files)")
	case s.bytes+size > o.SpoolBytes:
		return errors.New("too many bytes wait to be sent to S3 (--spool-size)")
	case o.SpoolAge > 0 && s.fs.now().Sub(s.oldestLocked()) > o.SpoolAge:
		return errors.New("files have waited too long to be sent to S3 (--spool-age)")
	}
	return nil
}

// oldestLocked returns when the oldest parcel was accepted.
func (s *spool) oldestLocked() time.Time {
	var oldest time.Time
	for _, sl := range s.slots {
		for _, p := range []*parcel{sl.waiting, sl.sending} {
			if p != nil && (oldest.IsZero() || p.Time.Before(oldest)) {
				oldest = p.Time
			}
		}
	}
	return oldest
}

// usage returns the number of parcels, their bytes, and when the oldest was
// accepted.
func (s *spool) usage() (count int, bytes int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.bytes, s.oldestLocked()
}
