package mem_test

import (
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New() }, storetest.Differences{})
}
