package s3_test

import (
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/retry"
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

// TestConformanceOfStack runs the suite on what Causeway uses, with faults.
func TestConformanceOfStack(t *testing.T) {
	lost := fault.On(fault.Lost(), fault.Ops(store.OpPut, store.OpComplete), fault.Every(7))
	tear := fault.On(fault.Tear(100), fault.Ops(store.OpGet), fault.Every(5))
	t.Run("all", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store {
			s := fault.Wrap(servers.Open(t, servers.Versity), lost, tear)
			return retry.New(metrics.Wrap(s), retry.Config{BaseDelay: time.Millisecond})
		}, servers.Known(servers.Versity))
	})
	fault.Exercised(t, lost, tear)
}
