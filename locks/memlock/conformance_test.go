package memlock_test

import (
	"testing"

	"github.com/causewayfs/causeway/locks/coordtest"
	"github.com/causewayfs/causeway/locks/memlock"
)

func TestConformance(t *testing.T) {
	for name, opts := range map[string]memlock.Options{
		"asked": {}, "told": {Push: true}, "tombstones": {Tombstones: true},
	} {
		t.Run(name, func(t *testing.T) {
			coordtest.Run(t, coordtest.Setup{Bubble: true, Told: opts.Push, Space: func(*testing.T) func(*testing.T) coordtest.Gateway {
				space := memlock.NewSpace(opts)
				return func(*testing.T) coordtest.Gateway { return connect(space) }
			}})
		})
	}
}

func connect(space *memlock.Space) coordtest.Gateway {
	c, faults, clock := space.Open(), &coordtest.Injector{}, coordtest.NewClock()
	c.SetClock(clock.Now)
	c.SetFault(func(memlock.Op, string) memlock.Outcome {
		switch faults.Next() {
		case coordtest.None:
			return memlock.Answered
		case coordtest.Lost:
			return memlock.Lost
		}
		return memlock.Failed
	})
	return coordtest.Gateway{Coordinator: c, Faults: faults, Clock: clock}
}
