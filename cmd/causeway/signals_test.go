package main

import (
	"context"
	"os"
	"syscall"
	"testing"
)

// TestLateSignal keeps a signal that came while something that could be
// interrupted was about to end.
func TestLateSignal(t *testing.T) {
	a := &app{signals: make(chan os.Signal, 2)}
	ctx, stop := a.interruptible(context.Background())
	a.signals <- syscall.SIGTERM
	<-ctx.Done()
	stop()
	stop()
	select {
	case sig := <-a.signals:
		if sig != syscall.SIGTERM {
			t.Errorf("got %v", sig)
		}
	default:
		t.Error("the signal is lost")
	}
	_, stop = a.interruptible(context.Background())
	stop()
	if len(a.signals) != 0 {
		t.Error("a signal from nowhere")
	}
}
