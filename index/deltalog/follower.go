package deltalog

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/index/format"
	"github.com/causewayfs/causeway/store"
)

// Position is up to which segment each gateway's log is known.
type Position map[string]uint64

// Segment is one segment of somebody's log.
type Segment struct {
	Gateway string
	Number  uint64
	Records []format.Told
	// Damaged is how many records could not be read, or -1 if nothing could.
	Damaged int
}

// News is what a poll found.
type News struct {
	Segments []Segment // by gateway, in order of their numbers
	// Missing names gateways of which segments behind the position are gone.
	Missing []string
	// Waiting is how many segments are in the log, read or not.
	Waiting int
}

// Empty reports whether nothing has changed.
func (n *News) Empty() bool { return len(n.Segments) == 0 && len(n.Missing) == 0 }

// Follower reads what others write. It is not safe for concurrent use.
type Follower struct {
	store    store.Store
	own      string
	position Position
}

// parallelReads is how many segments are read at a time.
const parallelReads = 16

// NewFollower follows all gateways but own from the position on: a gateway that
// it does not name is followed from its first segment.
func NewFollower(s store.Store, own string, from Position) *Follower {
	f := &Follower{store: s, own: own, position: Position{}}
	for g, n := range from {
		f.position[g] = n
	}
	return f
}

// Position is a copy of how far the Follower is.
func (f *Follower) Position() Position {
	p := make(Position, len(f.position))
	for g, n := range f.position {
		p[g] = n
	}
	return p
}

// Poll reads what is new. An error means that nothing was: the next Poll gives
// it again. Errors: that of S3; *format.NewerError.
func (f *Follower) Poll(ctx context.Context) (News, error) {
	logs, waiting, err := f.list(ctx)
	if err != nil {
		return News{}, err
	}
	news := News{Waiting: waiting}
	for _, g := range slices.Sorted(maps.Keys(logs)) {
		for _, number := range logs[g] {
			if number > f.position[g] {
				news.Segments = append(news.Segments, Segment{Gateway: g, Number: number})
			}
		}
	}
	if err := f.read(ctx, news.Segments); err != nil {
		return News{}, err
	}
	next := f.Position()
	for i := range news.Segments {
		s := &news.Segments[i]
		if s.Number != next[s.Gateway]+1 || s.Damaged < 0 {
			news.missing(s.Gateway)
		}
		next[s.Gateway] = s.Number
	}
	f.position = next
	return news, nil
}

func (n *News) missing(gateway string) {
	if !slices.Contains(n.Missing, gateway) {
		n.Missing = append(n.Missing, gateway)
	}
}

// list returns the numbers of the segments that are there, by gateway.
func (f *Follower) list(ctx context.Context) (logs map[string][]uint64, waiting int, err error) {
	logs = map[string][]uint64{}
	opts := store.ListOptions{Prefix: Prefix}
	for {
		page, err := f.store.List(ctx, opts)
		if err != nil {
			return nil, 0, fmt.Errorf("list the log of changes: %w", err)
		}
		for _, o := range page.Objects {
			waiting++
			gateway, number, ok := parseKey(o.Key)
			if ok && gateway != f.own {
				logs[gateway] = append(logs[gateway], number)
			}
		}
		if page.Next == "" {
			return logs, waiting, nil
		}
		opts.Token = page.Next
	}
}

// read fills in the segments.
func (f *Follower) read(ctx context.Context, segments []Segment) error {
	errs := make([]error, len(segments))
	turns := make(chan struct{}, parallelReads)
	var all sync.WaitGroup
	for i := range segments {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			errs[i] = f.readOne(ctx, &segments[i])
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Follower) readOne(ctx context.Context, s *Segment) error {
	obj, err := f.store.Get(ctx, key(s.Gateway, s.Number), store.GetOptions{})
	if store.IsKind(err, store.NotExist) {
		s.Damaged = -1 // folded and deleted since it was listed
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the log of changes: %w", err)
	}
	defer obj.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(obj.Body)
	if err != nil {
		return fmt.Errorf("read the log of changes: %w", err)
	}
	h, records, damaged, err := format.DecodeSegment(b)
	switch {
	case err == nil && h.Gateway == s.Gateway && h.Number == s.Number:
		s.Records, s.Damaged = records, damaged
		return nil
	case isNewer(err):
		return err
	}
	s.Damaged = -1
	return nil
}

func isNewer(err error) bool {
	_, ok := err.(*format.NewerError) //nolint:errorlint // DecodeSegment returns it as it is
	return ok
}

// parseKey is the inverse of key.
func parseKey(k string) (gateway string, number uint64, ok bool) {
	gateway, digits, found := strings.Cut(strings.TrimPrefix(k, Prefix), "/")
	if !found || gateway == "" || len(digits) != 16 {
		return "", 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return gateway, number, err == nil && number > 0
}
