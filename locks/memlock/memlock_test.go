package memlock_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
)

func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := memlock.NewSpace(memlock.Options{})
		a, b := space.Open(), space.Open()
		s, err := a.Join(t.Context(), locks.GatewayInfo{Host: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if ended, err := b.Ended(t.Context(), s.ID()); ended || err != nil {
			t.Errorf("a new session: ended %v, %v", ended, err)
		}
		if err := b.Want(t.Context(), s.ID(), "k"); err != nil {
			t.Error(err)
		}
		if key := <-s.Wanted(); key != "k" {
			t.Errorf("%q is wanted", key)
		}
		a.SetAway(true)
		if _, err := a.Get(t.Context(), "k"); !errors.Is(err, memlock.ErrAway) {
			t.Errorf("away: %v", err)
		}
		var over time.Time
		for i := 0; ; i++ {
			ended, err := b.Ended(t.Context(), s.ID())
			if err != nil || i > 100 {
				t.Fatal("not ended", err)
			}
			if ended {
				break
			}
			if over.IsZero() && !s.Valid() {
				over = time.Now()
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(over); d < 3*time.Second {
			t.Errorf("the owner stopped acting only %v before", d)
		}
		<-s.Done()
		if err := s.Leave(t.Context()); !errors.Is(err, memlock.ErrAway) {
			t.Errorf("leave: %v", err)
		}
	})
}
