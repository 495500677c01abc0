package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// TestScripts runs the scripts in testdata, each on one store and in a time of
// its own. A line is a command, and what it must give behind " = ":
//
//	open G [strict] [readonly] [covers] [max=N]  open the index G
//	close G
//	s3 put KEY[*N] [NAME=VALUE]...   write an object, or N, as another tool does
//	s3 meta KEY [NAME=VALUE]...      replace its metadata
//	s3 del KEY
//	sleep DURATION
//	block REQUEST / unblock          stop requests that begin like this
//	delay REQUEST / unblock          carry them out and hold the answer back
//	fail REQUEST / unblock           make them fail
//	G lookup|stat PATH = KIND [mode] in the background with "&" in front of G
//	G list|empty|negative DIR = ...
//	G peek PATH = KIND
//	G write|mkdir|rm PATH            announce, change S3 and tell the index
//	G put|made|remove|forget|hold|release PATH
//	G acquire
//	G absent PATH = true|false
//	G reqs = REQUESTS                since the last time; without other gateways
//	G polls = REQUESTS               those about other gateways
//	G changes = PATHS                told to OnChange since the last time
//	G others = N
//	results                          of what was begun with "&", in order
//
// A kind is file, dir, link or none; "?" behind it: attributes are not known.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "\n# ") {
			title, script, _ := strings.Cut(part, "\n")
			title = strings.TrimPrefix(title, "# ")
			t.Run(fmt.Sprintf("%s/%02d %s", strings.TrimSuffix(filepath.Base(file), ".txt"), i, title), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { runScript(t, script) })
			})
		}
	}
}

type world struct {
	t       *testing.T
	mem     *mem.Store
	indexes map[string]*player
	pending []chan string
	gate    chan struct{}
}

type player struct {
	*Listing
	spy      *spy
	mu       sync.Mutex
	changes  []string
	releases map[string]func()
}

func runScript(t *testing.T, script string) {
	w := &world{t: t, mem: mem.New(), indexes: map[string]*player{}}
	defer func() {
		w.unblock()
		for _, p := range w.indexes {
			if err := p.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	}()
	for _, line := range strings.Split(script, "\n") {
		line, _, _ = strings.Cut(line, ";")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		command, want, checked := strings.Cut(line, " =")
		got := w.do(strings.Fields(command))
		synctest.Wait()
		if want = strings.TrimSpace(want); checked && got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		} else if !checked && got != "" {
			t.Errorf("%s\n got %s", line, got)
		}
	}
}

func (w *world) do(words []string) string {
	ctx := w.t.Context()
	switch words[0] {
	case "open":
		w.open(words[1], words[2:])
		return ""
	case "close":
		p := w.indexes[words[1]]
		delete(w.indexes, words[1])
		return text(p.Close(ctx))
	case "s3":
		return text(w.s3(ctx, words[1], words[2], words[3:]))
	case "sleep":
		d, err := time.ParseDuration(words[1])
		time.Sleep(d)
		return text(err)
	case "block", "delay", "fail":
		w.block(words[0], strings.Join(words[1:], " "))
		return ""
	case "unblock":
		w.unblock()
		return ""
	case "results":
		var all []string
		for _, c := range w.pending {
			all = append(all, <-c)
		}
		w.pending = nil
		return strings.Join(all, ", ")
	}
	if g, ok := strings.CutPrefix(words[0], "&"); ok {
		c := make(chan string, 1)
		w.pending = append(w.pending, c)
		go func() { c <- w.ask(ctx, w.indexes[g], words[1], path(words)) }()
		return ""
	}
	p := w.indexes[words[0]]
	if p == nil {
		w.t.Fatalf("no index %q", words[0])
	}
	return w.ask(ctx, p, words[1], path(words))
}

func path(words []string) string {
	if len(words) < 3 || words[2] == "/" {
		return ""
	}
	return words[2]
}

func text(err error) string {
	if err == nil {
		return ""
	}
	if store.IsKind(err, store.NotExist) {
		return "none"
	}
	return "error " + store.KindOf(err).String()
}

func (w *world) open(name string, flags []string) {
	p := &player{spy: &spy{Store: w.mem}, releases: map[string]func(){}}
	o := Options{
		Store: p.spy, GatewayID: name, Strict: slices.Contains(flags, "strict"),
		ReadOnly: slices.Contains(flags, "readonly"), ModifiedCoversMeta: slices.Contains(flags, "covers"),
		OnChange: func(path string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changes = append(p.changes, path)
		},
	}
	for _, f := range flags {
		if n, ok := strings.CutPrefix(f, "max="); ok {
			o.MaxEntries, _ = strconv.Atoi(n)
		}
	}
	p.Listing = Open(o)
	w.indexes[name] = p
}

func (w *world) s3(ctx context.Context, verb, key string, words []string) error {
	meta := store.Metadata{}
	for _, m := range words {
		k, v, _ := strings.Cut(m, "=")
		meta[k] = v
	}
	switch verb {
	case "put":
		base, count, many := strings.Cut(key, "*")
		n, _ := strconv.Atoi(count)
		for i := range max(n, 1) {
			if key = base; many {
				key = fmt.Sprintf("%s%05d", base, i)
			}
			body := store.Body{Reader: strings.NewReader(key), Size: int64(len(key))}
			if strings.HasSuffix(key, "/") {
				body = store.Body{}
			}
			if _, err := w.mem.Put(ctx, key, body, store.PutOptions{Meta: meta}); err != nil {
				return err
			}
		}
		return nil
	case "meta":
		_, err := w.mem.Copy(ctx, key, key, store.CopyOptions{Meta: meta})
		return err
	case "del":
		return w.mem.Delete(ctx, key, store.Always)
	}
	return errors.New("what is s3 " + verb)
}

// block does what how says to the requests that begin with what until
// unblock, on all indexes.
func (w *world) block(how, what string) {
	w.gate = make(chan struct{})
	open := w.gate
	for _, p := range w.indexes {
		p.spy.mu.Lock()
		gate := func(ctx context.Context, request string) error {
			if !strings.HasPrefix(request, what) {
				return nil
			}
			if how == "fail" {
				return &store.Error{Kind: store.Unavailable}
			}
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return &store.Error{Kind: store.Canceled, Err: ctx.Err()}
			}
		}
		if how == "delay" {
			p.spy.late = gate
		} else {
			p.spy.gate = gate
		}
		p.spy.mu.Unlock()
	}
}

func (w *world) unblock() {
	for _, p := range w.indexes {
		p.spy.mu.Lock()
		p.spy.gate, p.spy.late = nil, nil
		p.spy.mu.Unlock()
	}
	if w.gate != nil {
		close(w.gate)
		w.gate = nil
	}
}

func kind(e Entry) string {
	s := map[FileType]string{TypeFile: "file", TypeDir: "dir", TypeSymlink: "link"}[e.Type]
	if e.Attr == nil {
		return s + "?"
	}
	if e.Attr.HasMode {
		s += fmt.Sprintf(" %04o", e.Attr.Mode)
	}
	return s
}

func (w *world) ask(ctx context.Context, p *player, verb, path string) string {
	switch verb {
	case "lookup", "stat":
		find := p.Lookup
		if verb == "stat" {
			find = p.Stat
		}
		a, err := find(ctx, path)
		if err != nil {
			return text(err)
		}
		return kind(a.Entry)
	case "peek":
		e, ok := p.Peek(path)
		if !ok {
			return "none"
		}
		return kind(e)
	case "list":
		return p.list(ctx, path)
	case "empty":
		empty, err := p.Empty(ctx, path)
		if err != nil {
			return text(err)
		}
		return strconv.FormatBool(empty)
	case "negative":
		return p.NegativeTTL(path).Round(time.Millisecond).String()
	case "reqs", "polls":
		return strings.Join(p.spy.take(verb == "polls"), ", ")
	case "changes":
		p.mu.Lock()
		defer p.mu.Unlock()
		slices.Sort(p.changes)
		s := strings.Join(p.changes, " ")
		p.changes = nil
		return s
	case "absent":
		return strconv.FormatBool(p.Absent(path))
	case "others":
		return strconv.Itoa(p.Stats().Gateways)
	case "hidden":
		return strconv.FormatInt(p.Stats().HiddenKeys, 10)
	}
	return w.change(ctx, p, verb, path)
}

func (p *player) list(ctx context.Context, path string) string {
	all, err := p.List(ctx, path)
	if err != nil {
		return text(err)
	}
	if len(all) > 20 {
		return strconv.Itoa(len(all))
	}
	var names []string
	for _, a := range all {
		if a.Type == TypeDir {
			a.Name += "/"
		}
		names = append(names, a.Name)
	}
	return strings.Join(names, " ")
}

func (w *world) change(ctx context.Context, p *player, verb, path string) string {
	file := Entry{Name: path, Size: int64(len(path)), Attr: &Attr{}, Mtime: time.Now()}
	dir := Entry{Name: path, Type: TypeDir, Marker: true, Attr: &Attr{}}
	switch verb {
	case "write":
		if err := p.Announce(ctx); err != nil {
			return text(err)
		}
		info, err := w.mem.Put(ctx, path, store.Body{Reader: strings.NewReader(path), Size: int64(len(path))}, store.PutOptions{})
		file.ETag = info.ETag
		p.Put(path, file, time.Time{})
		return text(err)
	case "mkdir":
		if err := p.Announce(ctx); err != nil {
			return text(err)
		}
		_, err := w.mem.Put(ctx, path+"/", store.Body{}, store.PutOptions{})
		p.Made(path, dir)
		return text(err)
	case "rm":
		if err := p.Announce(ctx); err != nil {
			return text(err)
		}
		_, err := w.mem.DeleteMany(ctx, []string{path, path + "/"})
		p.Remove(path)
		return text(err)
	case "announce":
		return text(p.Announce(ctx))
	case "put":
		p.Put(path, file, time.Time{})
	case "made":
		p.Made(path, dir)
	case "remove":
		p.Remove(path)
	case "forget":
		p.Forget(path)
	case "acquire":
		p.Acquire()
	case "hold":
		p.releases[path] = p.Hold(path)
	case "release":
		p.releases[path]()
	default:
		w.t.Fatalf("what is %s", verb)
	}
	return ""
}
