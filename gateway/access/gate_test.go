package access

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// known are the passwords of the hashes that tests made up: bcrypt itself is slow,
// and under the race detector very slow.
var known sync.Map

// hashed is a line of an htpasswd file.
func hashed(_ testing.TB, user, password string) string {
	h := string(dummyHash(bcrypt.MinCost))
	known.Store(h, password)
	return user + ":" + h + "\n"
}

// compare stands for bcrypt.
func compare(hash, password []byte) error {
	if want, ok := known.Load(string(hash)); ok && want == string(password) {
		return nil
	}
	return bcrypt.ErrMismatchedHashAndPassword
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// file writes a file into a directory of its own.
func file(t testing.TB, text string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "file"), text)
}

// open opens a Gate with compare, and counts what that is asked.
func open(t testing.TB, c Config) (*Gate, *atomic.Int64) {
	t.Helper()
	g, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	compared := new(atomic.Int64)
	if g.logins != nil {
		g.logins.compare = func(hash, password []byte) error {
			compared.Add(1)
			return compare(hash, password)
		}
	}
	return g, compared
}

// whoami answers with the identity.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := From(r.Context())
	fmt.Fprintf(w, "%s %s", id.User, id.Via)
})

// ask sends a request as it comes in on loopback.
func ask(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	h.ServeHTTP(w, r.WithContext(withLocal(r.Context(), local)))
	return w
}

func request(method, path string, set ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4000", "127.0.0.1:1"
	for _, s := range set {
		s(r)
	}
	return r
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func from(addr string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = addr }
}

func TestWhoSomebodyIs(t *testing.T) {
	token, line, err := NewToken("ci")
	if err != nil {
		t.Fatal(err)
	}
	g, _ := open(t, Config{
		Htpasswd: file(t, "# people\n\n"+hashed(t, "ann", "secret")+hashed(t, "bob", "pa:ss wörd")),
		Tokens:   file(t, line+"\n"),
	})
	h := g.Wrap(whoami)
	for name, c := range map[string]struct {
		set    func(*http.Request)
		status int
		body   string
	}{
		"nothing":             {func(*http.Request) {}, 401, ""},
		"password":            {basic("ann", "secret"), 200, "ann password"},
		"password with colon": {basic("bob", "pa:ss wörd"), 200, "bob password"},
		"wrong password":      {basic("ann", "Secret"), 401, ""},
		"other's password":    {basic("bob", "secret"), 401, ""},
		"unknown user":        {basic("eve", "secret"), 401, ""},
		"empty password":      {basic("ann", ""), 401, ""},
		"token":               {header("Authorization", "bearer "+token), 200, "ci token"},
		"token as password":   {basic("ci", token), 200, "ci token"},
		"other's token":       {basic("ann", token), 401, ""},
		"wrong token":         {header("Authorization", "Bearer "+token+"x"), 401, ""},
		"hash as token":       {header("Authorization", "Bearer "+strings.TrimPrefix(line, "ci:")), 401, ""},
		"other scheme":        {header("Authorization", "Digest x"), 401, ""},
		"no base64":           {header("Authorization", "Basic !"), 401, ""},
	} {
		w := ask(h, request("GET", "/f", c.set, from("10.0.0."+fmt.Sprint(len(name))+":1")))
		if w.Code != c.status || c.body != "" && w.Body.String() != c.body {
			t.Errorf("%s: %d %q, want %d %q", name, w.Code, w.Body, c.status, c.body)
		}
		challenges := strings.Join(w.Header().Values("WWW-Authenticate"), "; ")
		if (w.Code == 401) != (challenges == `Basic realm="Causeway", charset="UTF-8"; Bearer realm="Causeway"`) {
			t.Errorf("%s: challenges %q", name, challenges)
		}
	}
}

// TestPasswordsAreRemembered wants one bcrypt for any number of requests, none
// for a change of nothing, and a new one when the file has changed.
func TestPasswordsAreRemembered(t *testing.T) {
	c := newClock()
	path := file(t, hashed(t, "ann", "one"))
	g, compared := open(t, Config{Htpasswd: path, Now: c.now})
	h := g.Wrap(whoami)
	for range 50 {
		if w := ask(h, request("GET", "/", basic("ann", "one"))); w.Code != 200 {
			t.Fatal(w.Code)
		}
		c.move(2 * time.Second)
	}
	if n := compared.Load(); n != 1 {
		t.Errorf("50 requests cost %d comparisons, want 1", n)
	}
	next := write(t, path+".new", hashed(t, "ann", "two"))
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	c.move(2 * time.Second)
	if w := ask(h, request("GET", "/", basic("ann", "one"))); w.Code != 401 {
		t.Errorf("the old password: %d", w.Code)
	}
	if w := ask(h, request("GET", "/", basic("ann", "two"))); w.Code != 200 {
		t.Errorf("the new password: %d", w.Code)
	}
	if n := compared.Load(); n != 3 {
		t.Errorf("%d comparisons in all, want 3", n)
	}
	write(t, path, "ann:{SHA}broken\n")
	c.move(2 * time.Second)
	if w := ask(h, request("GET", "/", basic("ann", "two"))); w.Code != 200 {
		t.Errorf("after an error in the file: %d", w.Code)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.move(2 * time.Second)
	if w := ask(h, request("GET", "/", basic("ann", "two"))); w.Code != 200 {
		t.Errorf("without the file: %d", w.Code)
	}
	write(t, path, hashed(t, "bob", "three"))
	c.move(2 * time.Second)
	if w := ask(h, request("GET", "/", basic("ann", "two"))); w.Code != 401 {
		t.Errorf("a user that was taken away: %d", w.Code)
	}
}

// TestTogether wants many requests with one new password to cost one bcrypt.
func TestTogether(t *testing.T) {
	g, _ := open(t, Config{Htpasswd: file(t, hashed(t, "ann", "one"))})
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	var compared atomic.Int64
	g.logins.compare = func([]byte, []byte) error {
		compared.Add(1)
		entered <- struct{}{}
		<-release
		return nil
	}
	h := g.Wrap(whoami)
	var wg sync.WaitGroup
	one := func() {
		if w := ask(h, request("GET", "/", basic("ann", "one"))); w.Code != 200 {
			t.Error(w.Code)
		}
	}
	wg.Go(one)
	<-entered
	for range 10 {
		wg.Go(one)
	}
	close(release)
	wg.Wait()
	if n := compared.Load(); n != 1 {
		t.Errorf("%d comparisons, want 1", n)
	}
}

// TestUnknownUserCostsTheSame wants one comparison for an unknown user, with a
// hash of the same cost as for a known one.
func TestUnknownUserCostsTheSame(t *testing.T) {
	g, _ := open(t, Config{Htpasswd: file(t, "ann:"+string(dummyHash(6))+"\n")})
	var costs []int
	g.logins.compare = func(hash, password []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			t.Error(err)
		}
		costs = append(costs, cost)
		return bcrypt.ErrMismatchedHashAndPassword
	}
	h := g.Wrap(whoami)
	for _, user := range []string{"ann", "eve"} {
		if w := ask(h, request("GET", "/", basic(user, "wrong"))); w.Code != 401 {
			t.Errorf("%s: %d", user, w.Code)
		}
	}
	if len(costs) != 2 || costs[0] != costs[1] || costs[0] != 6 {
		t.Errorf("costs %v", costs)
	}
}

// TestDummyIsAHash wants bcrypt to do its work on it, and to find nothing.
func TestDummyIsAHash(t *testing.T) {
	for range 3 {
		if err := bcrypt.CompareHashAndPassword(dummyHash(bcrypt.MinCost), []byte("x")); err != bcrypt.ErrMismatchedHashAndPassword {
			t.Fatal(err)
		}
	}
}

// TestFailuresSlow wants an address to wait after a few wrong passwords, others
// not, and whoever is in to stay in.
func TestFailuresSlow(t *testing.T) {
	c := newClock()
	var logged bytes.Buffer
	g, compared := open(t, Config{
		Htpasswd: file(t, hashed(t, "ann", "right")), Now: c.now,
		Log: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	h := g.Wrap(whoami)
	login := func(addr, password string) *httptest.ResponseRecorder {
		return ask(h, request("GET", "/", basic("ann", password), from(addr)))
	}
	if w := login("10.0.0.1:1", "right"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	codes := map[int]int{}
	for i := range 1000 {
		codes[login(fmt.Sprintf("10.0.0.1:%d", i+1), fmt.Sprintf("hunter%d", i)).Code]++
	}
	if codes[401] != freeFailures+1 || codes[429] != 1000-codes[401] || compared.Load() != int64(codes[401])+1 {
		t.Errorf("1,000 wrong passwords: %v, %d comparisons", codes, compared.Load())
	}
	w := login("10.0.0.1:9", "right")
	if w.Code != 200 {
		t.Errorf("who is in already: %d", w.Code)
	}
	if w := login("10.0.0.2:1", "right"); w.Code != 200 {
		t.Errorf("another address: %d", w.Code)
	}
	if w := login("10.0.0.1:9", "wrong"); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("the next wrong one: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	for _, want := range []string{"2", "4", "8", "16", "32"} {
		c.move(time.Minute)
		for login("10.0.0.1:9", "wrong").Code != 429 {
		}
		if got := login("10.0.0.1:9", "wrong").Header().Get("Retry-After"); got < "1" {
			t.Errorf("Retry-After %q after %s", got, want)
		}
	}
	c.move(time.Hour)
	if w := login("10.0.0.1:9", "wrong"); w.Code != 401 {
		t.Errorf("an hour later: %d", w.Code)
	}
	if s := logged.String(); strings.Contains(s, "hunter") || strings.Contains(s, "wrong") || !strings.Contains(s, "user=ann") || strings.Count(s, "\n") > 20 {
		t.Errorf("logged:\n%s", s)
	}
}

func TestWaitDoubles(t *testing.T) {
	c := newClock()
	s := newSlowdown(c.now)
	var waits []time.Duration
	for range 14 {
		done, wait := s.begin("10.0.0.1:1")
		if wait > 0 {
			waits = append(waits, wait)
			c.move(wait)
			done, _ = s.begin("10.0.0.1:1")
		}
		done(false)
	}
	want := []time.Duration{1, 2, 4, 8, 16}
	for i, w := range want {
		if i >= len(waits) || waits[i] != w*time.Second {
			t.Fatalf("waits %v, want them to begin with %v s", waits, want)
		}
	}
	for _, w := range waits {
		if w > longestWait {
			t.Errorf("waits %v, longer than %v", waits, longestWait)
		}
	}
}

// TestOneAddressAtOnce wants few passwords of one address to be looked at
// together, so that the free failures are not had by the thousand at once.
func TestOneAddressAtOnce(t *testing.T) {
	s := newSlowdown(newClock().now)
	n := 0
	for range 1000 {
		if _, wait := s.begin("[2001:db8::1]:1"); wait == 0 {
			n++
		}
	}
	if n != maxAtOnce {
		t.Errorf("%d at once", n)
	}
	if _, wait := s.begin("[2001:db8::ffff:1]:1"); wait == 0 {
		t.Error("another address of the same /64 is not the same source")
	}
	if _, wait := s.begin("[2001:db8:0:1::1]:1"); wait != 0 {
		t.Error("another /64 is the same source")
	}
	for i := range 3 * maxAddresses {
		s.begin(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	if s.addrs.Len() > maxAddresses {
		t.Errorf("%d addresses are remembered", s.addrs.Len())
	}
}

func TestLogOfUnknownUserHasNoName(t *testing.T) {
	var logged bytes.Buffer
	g, _ := open(t, Config{Htpasswd: file(t, hashed(t, "ann", "right")), Log: slog.New(slog.NewTextHandler(&logged, nil))})
	ask(g.Wrap(whoami), request("GET", "/", basic("my-password", "x")))
	if s := logged.String(); strings.Contains(s, "my-password") || !strings.Contains(s, "failed login") {
		t.Errorf("logged %q", s)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := file(t, hashed(t, "ann", "x"))
	for name, c := range map[string]struct {
		c    Config
		want string
	}{
		"no file":        {Config{Htpasswd: "/does/not/exist"}, "no such file"},
		"MD5":            {Config{Htpasswd: file(t, "ann:$apr1$x$y\n")}, ":1: the hash of \"ann\" is not one of bcrypt"},
		"plain":          {Config{Htpasswd: file(t, "\n\nann:secret\n")}, ":3: the hash"},
		"no colon":       {Config{Htpasswd: file(t, "ann\n")}, "not USER:HASH"},
		"twice":          {Config{Htpasswd: file(t, hashed(t, "ann", "x")+hashed(t, "ann", "y"))}, "twice"},
		"odd name":       {Config{Htpasswd: file(t, hashed(t, "*", "x"))}, "not the name of a user"},
		"too costly":     {Config{Htpasswd: file(t, "ann:$2a$31$"+strings.Repeat("a", 53)+"\n")}, "cost 31"},
		"token in clear": {Config{Tokens: file(t, "ann:cwt_x\n")}, "not a SHA-256"},
		"bad rule":       {Config{Htpasswd: good, Rules: file(t, "ann /\n")}, "not USER PATH LEVEL"},
		"bad level":      {Config{Htpasswd: good, Rules: file(t, "ann / all\n")}, `"all"`},
		"bad path":       {Config{Htpasswd: good, Rules: file(t, "ann a/b read\n")}, "slash"},
		"dots in path":   {Config{Htpasswd: good, Rules: file(t, "ann /a/../b read\n")}, "dot segments"},
		"rules alone":    {Config{Rules: file(t, "* / read\n")}, "rules need credentials"},
		"cert alone":     {Config{TLSCert: good}, "go together"},
		"CA alone":       {Config{ClientCAs: good}, "certificate of the server"},
		"no certificate": {Config{TLSCert: good, TLSKey: good}, "tls"},
	} {
		if _, err := Open(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cwt_") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

func TestPermit(t *testing.T) {
	cert, key := certificate(t, "server", nil)
	passwords := file(t, hashed(t, "ann", "x"))
	local, all := &net.TCPAddr{IP: net.IPv6loopback}, &net.TCPAddr{IP: net.IPv4zero}
	for name, c := range map[string]struct {
		c    Config
		addr net.Addr
		want error
	}{
		"loopback":           {Config{}, local, nil},
		"open":               {Config{}, all, ErrNeedsCredentials},
		"open as asked":      {Config{NoAuth: true}, all, nil},
		"TLS alone":          {Config{TLSCert: cert, TLSKey: key}, all, ErrNeedsCredentials},
		"in the clear":       {Config{Htpasswd: passwords}, all, ErrNeedsTLS},
		"in the clear asked": {Config{Htpasswd: passwords, PlainHTTP: true}, all, nil},
		"loopback password":  {Config{Htpasswd: passwords}, local, nil},
		"both":               {Config{Htpasswd: passwords, TLSCert: cert, TLSKey: key}, all, nil},
	} {
		g, _ := open(t, c.c)
		if err := g.Permit(c.addr); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if (g.TLS() != nil) != (c.c.TLSCert != "") {
			t.Errorf("%s: TLS is %v", name, g.TLS())
		}
	}
}

// TestInTheClear wants credentials not to be asked for where they would be seen.
func TestInTheClear(t *testing.T) {
	g, _ := open(t, Config{Htpasswd: file(t, hashed(t, "ann", "x"))})
	w := httptest.NewRecorder()
	r := request("GET", "/", basic("ann", "x"))
	r = r.WithContext(withLocal(r.Context(), &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}))
	g.Wrap(whoami).ServeHTTP(w, r)
	if w.Code != 403 || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestBrowsers wants pages of other origins, and of hosts that lead here by a
// trick, to be kept out.
func TestBrowsers(t *testing.T) {
	g, _ := open(t, Config{})
	h := g.Wrap(whoami)
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for name, c := range map[string]struct {
		method string
		set    func(*http.Request)
		status int
	}{
		"this host":            {"PUT", host("localhost:8420"), 200},
		"its address":          {"PUT", host("127.0.0.1:8420"), 200},
		"its IPv6 address":     {"PUT", host("[::1]:8420"), 200},
		"rebound name":         {"GET", host("evil.example:8420"), 421},
		"other origin":         {"PUT", header("Origin", "http://evil.example"), 403},
		"other site":           {"DELETE", header("Sec-Fetch-Site", "cross-site"), 403},
		"own origin":           {"PUT", header("Origin", "http://127.0.0.1:1"), 200},
		"other site may link":  {"GET", header("Sec-Fetch-Site", "cross-site"), 200},
		"no browser, no cross": {"PROPFIND", host("127.0.0.1"), 200},
	} {
		if w := ask(h, request(c.method, "/f", c.set)); w.Code != c.status {
			t.Errorf("%s: %d, want %d", name, w.Code, c.status)
		}
	}
	w := ask(h, request("GET", "/f"))
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("headers %v", w.Header())
	}
}
