package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates in tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = issue(t, "authority", nil)
	a.file = write(t, filepath.Join(t.TempDir(), "ca.pem"), pemOf("CERTIFICATE", a.cert.Raw))
	return a
}

// issue makes a certificate for name that by, or else itself, has signed.
func issue(t testing.TB, name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: by == nil, BasicConstraintsValid: true,
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyPEM(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// certificate writes a certificate and its key into files.
func certificate(t testing.TB, name string, by *authority) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := issue(t, name, by)
	return write(t, filepath.Join(dir, "cert.pem"), pemOf("CERTIFICATE", cert.Raw)), write(t, filepath.Join(dir, "key.pem"), keyPEM(t, key))
}

// serveTLS serves whoami behind g.
func serveTLS(t *testing.T, g *Gate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(g.Wrap(whoami))
	s.TLS = g.TLS()
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// client trusts a, and shows certs.
func client(a *authority, certs ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: certs},
		DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	a, c := newAuthority(t), newClock()
	cert, key := certificate(t, "one", a)
	g, _ := open(t, Config{TLSCert: cert, TLSKey: key, Now: c.now})
	s := serveTLS(t, g)
	name := func() string {
		t.Helper()
		resp, err := client(a).Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("served by %s", resp.Proto)
		}
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "one" {
		t.Fatal(got)
	}
	next, nextKey := issue(t, "two", a)
	write(t, cert, pemOf("CERTIFICATE", next.Raw))
	c.move(2 * time.Second)
	if got := name(); got != "one" {
		t.Errorf("with a certificate whose key is not there yet: %s", got)
	}
	write(t, key, keyPEM(t, nextKey))
	c.move(2 * time.Second)
	if got := name(); got != "two" {
		t.Errorf("with both files replaced: %s", got)
	}
}

func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert, key := certificate(t, "server", a)
	g, _ := open(t, Config{
		TLSCert: cert, TLSKey: key, ClientCAs: a.file, Htpasswd: file(t, hashed(t, "bob", "pw")),
		Rules: file(t, "ann / read\nbob / write\n"),
	})
	s := serveTLS(t, g)
	pair := func(name string, by *authority) tls.Certificate {
		c, k := issue(t, name, by)
		return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: k}
	}
	get := func(c *http.Client, set ...func(*http.Request)) (int, string) {
		r, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range set {
			f(r)
		}
		resp, err := c.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get(client(a, pair("ann", a))); code != 200 || body != "ann certificate" {
		t.Errorf("ann: %d %s", code, body)
	}
	if code, _ := get(client(a, pair("eve", a))); code != 403 {
		t.Errorf("a certificate without rules: %d", code)
	}
	if code, body := get(client(a)); code != 401 {
		t.Errorf("no certificate: %d %s", code, body)
	}
	if code, body := get(client(a), basic("bob", "pw")); code != 200 || body != "bob password" {
		t.Errorf("a password: %d %s", code, body)
	}
	if code, body := get(client(a, pair("ann", other))); code == 200 {
		t.Errorf("a certificate of somebody else's authority: %d %s", code, body)
	}
}
