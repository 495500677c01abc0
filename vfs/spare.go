package vfs

import (
	"context"
	"os"
)

// spareFiles is how many empty local files are kept ready. Making one takes
// longer than all else that is done for a small file on this host.
const spareFiles = 32

// spares are empty local files for files that are about to be written.
type spares struct {
	state *stateDir
	ready chan *os.File
	used  chan struct{} // wakes fill
}

func newSpares(state *stateDir) *spares {
	return &spares{state: state, ready: make(chan *os.File, spareFiles), used: make(chan struct{}, 1)}
}

// take returns an empty local file.
func (s *spares) take() (*os.File, error) {
	select {
	case s.used <- struct{}{}:
	default:
	}
	select {
	case f := <-s.ready:
		return f, nil
	default:
		return createLocal(s.state.newStaged())
	}
}

// fill makes files ready, once the first was taken, until ctx ends.
func (s *spares) fill(ctx context.Context) {
	defer s.drop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.used:
		}
		for len(s.ready) < cap(s.ready) && ctx.Err() == nil {
			f, err := createLocal(s.state.newStaged())
			if err != nil {
				break // whoever needs one is told
			}
			s.ready <- f
		}
	}
}

// drop removes what was not used.
func (s *spares) drop() {
	for {
		select {
		case f := <-s.ready:
			f.Close()
			s.state.discard(f.Name())
		default:
			return
		}
	}
}

// newContent makes an empty content.
func (fs *FS) newContent() (*content, error) {
	file, err := fs.spares.take()
	if err != nil {
		return nil, err
	}
	return contentOn(fs, file), nil
}
