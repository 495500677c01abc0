package index

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// manyNames puts dirs directories of names each into l, as if listed and
// asked about, without a store that would need memory itself.
func manyNames(l *Listing, dirs, names int) {
	for i := range dirs {
		d := l.lock(fmt.Sprintf("namespace/type/%04d", i))
		a := applying{l: l, d: d, began: l.clock.tick()}
		var page store.Page
		for k := range names {
			sum := fmt.Sprintf("%016x%016x", i, k)
			page.Objects = append(page.Objects, store.Info{
				Key: fmt.Sprintf("%s/data-%08d.json", d.path, k), Size: int64(k), ETag: store.ETag(sum), Modified: time.Unix(1.7e9, 0),
			})
		}
		a.page(page, a.began)
		a.finish(1)
		for _, n := range d.names {
			n.attr = l.intern(&Attr{Mode: 0o600, HasMode: true, UID: 1000, HasUID: true})
		}
		d.mu.Unlock()
	}
}

// BenchmarkMemory measures the memory of a name that is known.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct{ dirs, names int }{{250, 1000}, {25_000, 10}, {1, 250_000}} {
		b.Run(fmt.Sprintf("%dx%d", c.dirs, c.names), func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				l := Open(Options{Store: mem.New()})
				manyNames(l, c.dirs, c.names)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(c.dirs*c.names), "bytes/entry")
				if n := l.Stats().Entries; n != c.dirs*c.names {
					b.Fatalf("%d entries", n)
				}
				if err := l.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookup measures questions that are answered from memory.
func BenchmarkLookup(b *testing.B) {
	for _, c := range []struct{ name, path string }{{"known", "namespace/type/%04d/data-%08d.json"}, {"absent", "namespace/type/%04d/none-%08d.json"}} {
		b.Run(c.name, func(b *testing.B) {
			now := time.Now()
			l := Open(Options{Store: mem.New(), Now: func() time.Time { return now }})
			manyNames(l, 250, 1000)
			paths := make([]string, 4096)
			for i := range paths {
				paths[i] = fmt.Sprintf(c.path, i%250, i%1000)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := l.Lookup(b.Context(), paths[i%len(paths)]); err != nil && !store.IsKind(err, store.NotExist) {
						b.Fatal(err)
					}
				}
			})
			if err := l.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkChange measures what a commit costs here.
func BenchmarkChange(b *testing.B) {
	l := Open(Options{Store: mem.New()})
	manyNames(l, 250, 1000)
	e := Entry{Size: 1, ETag: store.ETag(strings.Repeat("0", 32)), Attr: &Attr{}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			path := fmt.Sprintf("namespace/type/%04d/new-%d", i%250, i%1000)
			release := l.Hold(path)
			l.Put(path, e, time.Time{})
			release()
		}
	})
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
