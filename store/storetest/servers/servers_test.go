package servers_test

import (
	"strings"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

// TestKillAndRestart has objects outlive the process.
func TestKillAndRestart(t *testing.T) {
	for _, kind := range servers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			first := servers.Start(t, kind, dir)
			cfg := first.Bucket(t)
			st, err := s3.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Put(t.Context(), "k", store.Body{Reader: strings.NewReader("x"), Size: 1}, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			first.Kill()
			if _, err := st.Head(t.Context(), "k"); !store.IsKind(err, store.Unavailable) {
				t.Errorf("head after Kill: got %v, want unavailable", err)
			}
			second := servers.Start(t, kind, dir)
			cfg.Endpoint = second.Endpoint()
			if st, err = s3.Open(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			if info, err := st.Head(t.Context(), "k"); err != nil || info.Size != 1 {
				t.Errorf("head after a restart: %+v, %v", info, err)
			}
		})
	}
}

func TestBucketsAreApart(t *testing.T) {
	a, b := servers.Open(t, servers.Versity), servers.Open(t, servers.Versity)
	if _, err := a.Put(t.Context(), "k", store.Body{}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Head(t.Context(), "k"); !store.IsKind(err, store.NotExist) {
		t.Errorf("head in the other bucket: got %v, want does not exist", err)
	}
}

func TestMissingMinIO(t *testing.T) {
	t.Setenv("CAUSEWAY_MINIO", "no-such-program")
	err := servers.Try(servers.MinIO)
	if err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("got %v, want to be told what to do", err)
	}
}
