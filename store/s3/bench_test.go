package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/embedded"
	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

// openEmbedded runs the server in this process, so that a profile shows both
// sides.
func openEmbedded(b *testing.B) *s3.Store {
	b.Chdir(".")
	srv, err := embedded.Start(b.Context(), embedded.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = srv.Close(context.Background()) })
	st, err := s3.Open(b.Context(), srv.S3())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	return st
}

func BenchmarkSmallPut(b *testing.B) {
	st := openEmbedded(b)
	data := bytes.Repeat([]byte("x"), 2500)
	meta := store.Metadata{"mtime": "1700000000.123456789", "mode": "33188", "uid": "0", "gid": "0"}
	var n atomic.Int64
	b.SetParallelism(32) // of each of GOMAXPROCS
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			_, err := st.Put(b.Context(), fmt.Sprintf("dir-%d/file-%d", i%64, i),
				store.Body{Reader: bytes.NewReader(data), Size: int64(len(data))}, store.PutOptions{Meta: meta})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "put/s")
}

func BenchmarkLargePut(b *testing.B) {
	st := openEmbedded(b)
	data := make([]byte, 16<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := st.Put(b.Context(), "big", store.Body{Reader: bytes.NewReader(data), Size: int64(len(data))}, store.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLargeGet(b *testing.B) {
	st := openEmbedded(b)
	data := make([]byte, 16<<20)
	if _, err := st.Put(b.Context(), "big", store.Body{Reader: bytes.NewReader(data), Size: int64(len(data))}, store.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	buf := make([]byte, 1<<20)
	for b.Loop() {
		obj, err := st.Get(b.Context(), "big", store.GetOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, obj.Body, buf); err != nil {
			b.Fatal(err)
		}
		_ = obj.Body.Close()
	}
}
