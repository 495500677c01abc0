package s3_test

import (
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/store/storetest"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

func TestConformance(t *testing.T) {
	for _, kind := range servers.Kinds() {
		for name, prefix := range map[string]string{"bucket": "", "prefix": "a prefix+é%/of two/"} {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				storetest.Run(t, func(t *testing.T) store.Store {
					cfg := servers.Config(t, kind)
					cfg.Prefix = prefix
					st, err := s3.Open(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = st.Close() })
					return st
				}, servers.Known(kind))
			})
		}
	}
}
