package retry_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/retry"
)

func TestResume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	read := func(e *env, opts store.GetOptions) ([]byte, error) {
		obj, err := e.Get(e.ctx, "k", opts)
		e.must(err)
		defer func() { _ = obj.Body.Close() }()
		if len(obj.Info.Meta) != 0 {
			e.Errorf("metadata %v", obj.Info.Meta)
		}
		return io.ReadAll(obj.Body)
	}
	gets := fault.Ops(store.OpGet)
	inBubble(t, "torn again and again", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fail(store.Throttled), gets, fault.Nth(3)), fault.On(fault.Tear(7000), gets))
		_, err := e.put("k", string(content), store.IfAbsent())
		e.must(err)
		got, err := read(e, store.GetOptions{Offset: 3, Length: 90_001})
		if err != nil || !bytes.Equal(got, content[3:90_004]) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		e.requests(store.OpGet, 14) // of 7000 bytes, and one refused
	})
	inBubble(t, "stalled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fault{Moment: fault.Torn, Bytes: 5, Delay: fault.Forever}, gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		got, err := read(e, store.GetOptions{})
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
	inBubble(t, "replaced", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		obj, err := e.Get(e.ctx, "k", store.GetOptions{})
		e.must(err)
		_, err = e.put("k", strings.ToUpper("another version of that length"), store.Always)
		e.must(err)
		got, err := io.ReadAll(obj.Body)
		e.want("read", err, store.PreconditionFailed)
		if len(got) != 5 {
			t.Errorf("read %q", got)
		}
		_, err = obj.Body.Read(make([]byte, 1))
		e.want("read again", err, store.PreconditionFailed)
	})
	inBubble(t, "deleted", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		obj, err := e.Get(e.ctx, "k", store.GetOptions{})
		e.must(err)
		e.must(e.Delete(e.ctx, "k", store.Always))
		_, err = io.ReadAll(obj.Body)
		e.want("read", err, store.NotExist)
	})
	inBubble(t, "never again", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(0), gets))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		begun := time.Now()
		_, err = read(e, store.GetOptions{})
		e.want("read", err, store.Unavailable)
		if took := time.Since(begun); took > 31*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	inBubble(t, "canceled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		ctx, cancel := context.WithCancel(e.ctx)
		obj, err := e.Get(ctx, "k", store.GetOptions{})
		e.must(err)
		_, err = io.ReadFull(obj.Body, make([]byte, 5))
		e.must(err)
		cancel()
		_, err = obj.Body.Read(make([]byte, 1))
		e.want("read after cancel", err, store.Canceled)
	})
}
