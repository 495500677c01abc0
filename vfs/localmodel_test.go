package vfs

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// sluggish is a store that takes a moment for each request.
type sluggish struct {
	store.Store
	upTo time.Duration
}

func (s *sluggish) wait() { time.Sleep(rand.N(s.upTo)) } //nolint:gosec // not a secret

func (s *sluggish) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	s.wait()
	defer s.wait()
	return s.Store.Put(ctx, key, b, o)
}

func (s *sluggish) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	s.wait()
	defer s.wait()
	return s.Store.Copy(ctx, src, dst, o)
}

func (s *sluggish) Delete(ctx context.Context, key string, c store.Precondition) error {
	s.wait()
	defer s.wait()
	return s.Store.Delete(ctx, key, c)
}

func (s *sluggish) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	s.wait()
	defer s.wait()
	return s.Store.DeleteMany(ctx, keys)
}

// modelled is a filesystem beside what it must hold: the bytes of each name.
type modelled struct {
	*world
	rng   *rand.Rand
	want  map[string]string
	steps []string
}

// step does one operation on few names.
func (m *modelled) step(i int) error {
	names := []string{"a", "b", "c"}
	name, other := names[m.rng.IntN(3)], names[m.rng.IntN(3)]
	text := fmt.Sprint("<", i, ">")
	if m.rng.IntN(4) == 0 {
		text += strings.Repeat("x", inlineLimit)
	}
	_, there := m.want[name]
	note := func(what string) {
		m.steps = append(m.steps, fmt.Sprint(time.Now().Format("05.000 "), what, " ", name, " ", other, " ", text[:min(8, len(text))]))
	}
	switch k := m.rng.IntN(8); {
	case k == 0:
		note("write")
		m.want[name] = text
		return m.write(name, text, syscall.O_TRUNC)
	case k == 1:
		note("save")
		if err := m.write("."+name+".tmp", text, syscall.O_TRUNC); err != nil {
			return err
		}
		m.want[name] = text
		return m.rename("."+name+".tmp", name, 0)
	case k == 2 && there && len(m.want[name]) < 4*inlineLimit:
		note("append")
		m.want[name] += text + "\n"
		return m.appendLine(name, text)
	case k == 3 && there:
		note("edit")
		m.want[name] = "!" + m.want[name][1:]
		return m.writeAt(name, "!", 0)
	case k == 4 && there:
		note("unlink")
		delete(m.want, name)
		return m.unlink(name)
	case k == 5 && there && name != other:
		note("rename")
		m.want[other] = m.want[name]
		delete(m.want, name)
		return m.rename(name, other, 0)
	case k == 6 && there:
		note("chmod")
		id, err := m.lookup(name)
		if err == nil {
			_, err = m.fs.SetAttr(m.ctx, Caller{}, id.ID, nil, SetAttr{Mode: ptr(uint32(0o600 + m.rng.IntN(64)))})
		}
		return err
	default:
		time.Sleep(time.Duration(m.rng.IntN(40)) * time.Millisecond)
		return nil
	}
}

// check compares a filesystem with the model.
func (m *modelled) check(w *world, where string) bool {
	listed, names := w.list(""), strings.Join(slices.Sorted(maps.Keys(m.want)), " ")
	ok := listed == names
	for name, text := range m.want {
		if name == "elsewhere" { // a directory
			continue
		}
		got, err := w.read(name)
		ok = ok && err == nil && got == text
		if err != nil || got != text {
			m.t.Errorf("%s: %s holds %.40q (%d), %v; want %.40q (%d)", where, name, got, len(got), err, text, len(text))
		}
	}
	kept, _ := Kept(w.fs.opts.StateDir)
	if !ok || len(kept) > 0 {
		m.t.Errorf("%s: listed %q, then %q, want %q, kept %+v\nlast steps:\n%s", where, listed, w.list(""), names, kept, m.last())
		return false
	}
	return true
}

// TestOneWriter holds what one program does, one step after the other, with
// commits of both kinds, alone and beside another gateway.
func TestOneWriter(t *testing.T) {
	for _, mode := range []string{"remote", "local", "remote beside another", "local beside another"} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) {
				t.Parallel()
				oneWriter(t, mem.New(), seed, strings.HasPrefix(mode, "local"), strings.HasSuffix(mode, "another"))
			})
		}
	}
}

func oneWriter(t *testing.T, s store.Store, seed uint64, local, crowded bool) {
	open := func(dir string) *world {
		return newWorld(t, &sluggish{s, 8 * time.Millisecond}, func(o *Options) { o.StateDir, o.CommitLocal = dir, local })
	}
	m := &modelled{world: open(t.TempDir()), rng: rand.New(rand.NewPCG(seed, 1)), want: map[string]string{}} //nolint:gosec // not a secret
	if crowded {
		other := newWorld(t, s, nil)
		other.must(other.write(".other.tmp.1", "x", 0))
		other.must(other.mkdir("elsewhere"))
		m.want["elsewhere"] = ""
		if !eventually(10*time.Second, func() bool { m.list(""); return m.fs.crowded() }) {
			t.Fatal("the other gateway is not seen")
		}
	}
	for i := range 150 {
		if err := m.step(i); err != nil {
			t.Fatalf("%v\nlast steps:\n%s", err, m.last())
		}
		if !m.check(m.world, "here") {
			return
		}
	}
	m.sync()
	m.check(newWorld(t, s, nil), "elsewhere")
}

// last are the last steps.
func (m *modelled) last() string { return strings.Join(m.steps[max(0, len(m.steps)-12):], "\n") }
