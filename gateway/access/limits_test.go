package access

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds what a test waits for; it decides nothing.
const patience = 30 * time.Second

// serve runs h with limits on loopback.
func serve(t testing.TB, l Limits, h http.Handler, log *slog.Logger) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := l.Server(h, log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener) // it ends by Close
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return listener.Addr().String()
}

// reads answers with how its body ended.
var reads = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d %v", n, err)
})

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// closed waits until the other side has closed c.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

func put(t testing.TB, addr, body string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, "http://"+addr+"/f", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

// TestSlowBodies wants bodies that do not come to be cut off, and others to be
// served meanwhile.
func TestSlowBodies(t *testing.T) {
	addr := serve(t, Limits{BodyTime: 200 * time.Millisecond, Bodies: 64}, reads, nil)
	var slow []net.Conn
	for range 20 {
		c := dial(t, addr)
		fmt.Fprint(c, "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
		slow = append(slow, c)
	}
	if got := put(t, addr, "hello"); got != "200 5 <nil>" {
		t.Errorf("another client: %s", got)
	}
	for _, c := range slow {
		text, _ := io.ReadAll(c)
		if !bytes.Contains(text, []byte("timeout")) {
			t.Errorf("a slow body ended with %q", text)
		}
	}
}

// TestSlowHandler wants the time in which the handler does not read not to count.
func TestSlowHandler(t *testing.T) {
	addr := serve(t, Limits{BodyTime: time.Second, BodyBytes: 1 << 20}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		var err error
		for err == nil {
			var m int
			m, err = r.Body.Read(make([]byte, 1))
			n += m
			time.Sleep(110 * time.Millisecond)
		}
		fmt.Fprintf(w, "%d %v", n, err)
	}), nil)
	if got := put(t, addr, "0123456789"); got != "200 10 EOF" {
		t.Error(got)
	}
	// The connection is used again, with no deadline left on it.
	if got := put(t, addr, "0123456789"); got != "200 10 EOF" {
		t.Error(got)
	}
}

// TestUnwantedBody wants a body that nobody reads not to hold the connection.
func TestUnwantedBody(t *testing.T) {
	addr := serve(t, Limits{BodyTime: 200 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusUnauthorized)
	}), nil)
	c := dial(t, addr)
	fmt.Fprint(c, "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	if text, _ := io.ReadAll(c); !bytes.Contains(text, []byte("401")) {
		t.Errorf("answered with %q", text)
	}
}

// TestManyBodies wants one address to have half of the places.
func TestManyBodies(t *testing.T) {
	entered, release := make(chan struct{}, 10), make(chan struct{})
	addr := serve(t, Limits{Bodies: 6, BodyWait: time.Hour}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			entered <- struct{}{}
			<-release
		}
		io.Copy(w, r.Body)
	}), nil)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if got := put(t, addr, "x"); got != "200 x" {
				t.Error(got)
			}
		})
		<-entered
	}
	if got := put(t, addr, "x"); !strings.HasPrefix(got, "503") {
		t.Errorf("one too many: %s", got)
	}
	resp, err := http.Get("http://" + addr + "/f")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a request without a body: %v", err)
	} else {
		resp.Body.Close()
	}
	close(release)
	wg.Wait()
	if got := put(t, addr, "x"); got != "200 x" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestUnreadAnswer wants a client that does not read its answer to be cut off.
func TestUnreadAnswer(t *testing.T) {
	ended := make(chan error, 1)
	addr := serve(t, Limits{WriteTime: 200 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}), nil)
	c := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the answer is still being written")
	}
}

func TestHeaders(t *testing.T) {
	addr := serve(t, Limits{HeaderBytes: 4 << 10, HeaderTime: 200 * time.Millisecond}, reads, nil)
	c := dial(t, addr)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %v %v", resp, err)
	}
	slow := dial(t, addr)
	fmt.Fprint(slow, "GET / HTTP/1.1\r\nHost:")
	closed(t, slow)
	closed(t, dial(t, addr)) // it says nothing at all
}

// TestIdleConnections opens many, and wants others to be answered, and no memory
// to be left behind.
func TestIdleConnections(t *testing.T) {
	n, most := 500, 200
	if os.Getenv("CAUSEWAY_LONG") != "" {
		n, most = 10_000, 2048
	}
	addr := serve(t, Limits{Conns: most, IdleTime: patience, HeaderTime: patience}, reads, nil)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := settledGoroutines()
	var all []net.Conn
	for i := range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		all = append(all, c)
		if i%100 == 0 {
			if got := put(t, addr, "hello"); got != "200 5 <nil>" {
				t.Errorf("with %d connections: %s", i, got)
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		now := runtime.NumGoroutine() // those that were closed end in a moment
		if now <= before+most+50 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines for %d connections", now-before, n)
			break
		}
	}
	for _, c := range all {
		c.Close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if runtime.NumGoroutine() <= before+5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}

// settledGoroutines waits for what earlier tests have left to end.
func settledGoroutines() int {
	n := runtime.NumGoroutine()
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		n = min(n, runtime.NumGoroutine())
	}
	return n
}

// TestConns follows the count through the states that net/http reports.
func TestConns(t *testing.T) {
	c := newConns(2)
	var conn [4]net.Conn
	for i := range conn {
		conn[i], _ = net.Pipe()
	}
	step := func(i int, s http.ConnState, want net.Conn) {
		t.Helper()
		if got := c.note(conn[i], s); got != want {
			t.Errorf("connection %d %v: %v is closed, want %v", i, s, got, want)
		}
	}
	step(0, http.StateNew, nil)
	step(0, http.StateActive, nil)
	step(1, http.StateNew, nil)
	step(2, http.StateNew, conn[1]) // the one that has been idle longest, since 0 is at work
	step(1, http.StateClosed, nil)
	step(2, http.StateActive, nil)
	step(3, http.StateNew, conn[3]) // all others are at work
	step(3, http.StateClosed, nil)
	step(0, http.StateIdle, nil)
	step(2, http.StateIdle, nil)
	step(0, http.StateClosed, nil)
	step(2, http.StateHijacked, nil)
	if c.total != 0 || c.idle.Len() != 0 || len(c.where) != 0 {
		t.Errorf("left: %d, %d, %d", c.total, c.idle.Len(), len(c.where))
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g, _ := open(t, Config{Htpasswd: file(t, hashed(t, "ann", "hunter2")), Log: log})
	h := Limits{}.filled().wrap(g.Wrap(whoami), log)
	r := request("GET", "/some%20file?token=hunter2", basic("ann", "hunter2"), header("Cookie", "hunter2"))
	ask(h, r)
	ask(h, request("GET", "/some%20file", basic("ann", "hunter23")))
	s := logged.String()
	if strings.Contains(s, "hunter2") || strings.Contains(s, r.Header.Get("Authorization")) {
		t.Errorf("logged a secret:\n%s", s)
	}
	if !strings.Contains(s, "path=/some%20file status=200") || !strings.Contains(s, "status=401") {
		t.Errorf("logged:\n%s", s)
	}
}

// TestHostileCrowd sends wrong passwords, odd paths and bombs from many clients at
// once while somebody works, and wants nothing to be left of it.
func TestHostileCrowd(t *testing.T) {
	g, _ := open(t, Config{Htpasswd: file(t, hashed(t, "ann", "right")), Rules: file(t, "ann /w write\n")})
	written := 0
	var mu sync.Mutex
	addr := serve(t, Limits{}, g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			mu.Lock()
			written++
			mu.Unlock()
		}
		for d := xml.NewDecoder(io.LimitReader(r.Body, 256<<10)); ; {
			if _, err := d.Token(); err == io.EOF {
				return
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
	})), nil)
	work := func() {
		r, _ := http.NewRequest("PROPFIND", "http://"+addr+"/w", strings.NewReader("<a/>"))
		r.SetBasicAuth("ann", "right")
		r.Header.Set("Depth", "1")
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("who works gets %d", resp.StatusCode)
		}
	}
	work()
	before := heap()
	each := 40
	if os.Getenv("CAUSEWAY_LONG") != "" {
		each = 1000
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range each {
				attack(addr, i*each+j)
			}
		})
	}
	for range 50 {
		work()
	}
	wg.Wait()
	work()
	if written != 0 {
		t.Errorf("%d requests came through", written)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if after := heap(); after > before+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}

// attack sends the i-th wrong password, in a request that is odd in another way
// each time.
func attack(addr string, i int) {
	paths := []string{"/w/f", "/w/../etc/passwd", "/w/%2e%2e/%2e%2e/etc/passwd", "/w%2f..%2fx", "/w/%00", "/w/%c0%ae%c0%ae/", "//etc/passwd", "/-/api/status"}
	body := strings.NewReader(bombs[i%len(bombs)])
	r, err := http.NewRequest(http.MethodPut, "http://"+addr+paths[i%len(paths)], body)
	if err != nil {
		return
	}
	r.SetBasicAuth("ann", fmt.Sprintf("guess %d", i))
	if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
		resp.Body.Close()
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bombs are bodies that are small and would be large, or costly.
var bombs = []string{
	`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;&b;</x>`,
	`<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>`,
	`<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:1/">]><x>&e;</x>`,
	`<x>&undefined;</x>`,
	strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100),
	"<a>" + strings.Repeat("<b/>", 10_000) + "</a>",
	"<a" + strings.Repeat(` x="y"`, 1000) + "/>",
	strings.Repeat("<a>", 50_000),
	"<a>" + strings.Repeat(" ", 300<<10) + "</a>",
	"<a></b>", "<a", "</a>", "<a>", "\x00", "<a>\xff</a>", `<?xml version="1.0" encoding="utf-7"?><a/>`,
}
