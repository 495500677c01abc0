package access

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Config says who is let in. Files are read again when they change.
type Config struct {
	Htpasswd  string // file of USER:BCRYPT
	Tokens    string // file of USER:SHA256
	Rules     string // file of USER PATH LEVEL; without it, everybody who is let in may do everything
	TLSCert   string // file with the certificate and those that it is signed with, PEM
	TLSKey    string // file with its key, PEM
	ClientCAs string // file with what signs client certificates, PEM; one of these is a credential

	ReadOnly  bool // refuse every change
	NoAuth    bool // let everybody in, wherever they come from
	PlainHTTP bool // take credentials without TLS from other hosts

	Log *slog.Logger     // nil: nowhere
	Now func() time.Time // nil: time.Now
}

// Gate lets requests through or refuses them. It has nothing to close.
type Gate struct {
	config Config
	logins *logins               // nil without Htpasswd
	tokens *watched[tokens]      // nil without Tokens
	rules  *watched[Rules]       // nil without Rules
	certs  *watched[*tls.Config] // nil without TLSCert
	slow   *slowdown
	origin *http.CrossOriginProtection
	failed *complaints
}

// The reasons why Permit refuses an address.
var (
	ErrNeedsCredentials = errors.New("an address that is not loopback needs credentials")
	ErrNeedsTLS         = errors.New("credentials would go over the network in the clear")
)

// Open reads the files.
func Open(c Config) (*Gate, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return nil, errors.New("a certificate and its key go together")
	case c.ClientCAs != "" && c.TLSCert == "":
		return nil, errors.New("client certificates need a certificate of the server")
	}
	g := &Gate{config: c, slow: newSlowdown(c.Now), origin: http.NewCrossOriginProtection(), failed: newComplaints(c)}
	if err := g.read(); err != nil {
		return nil, fmt.Errorf("read who is let in: %w", err)
	}
	if g.rules != nil && g.open() && !c.NoAuth {
		return nil, errors.New("rules need credentials: they are for users")
	}
	return g, nil
}

func (g *Gate) read() (err error) {
	c := g.config
	if c.Htpasswd != "" {
		file, err := watch(c, func(f [][]byte) (passwords, error) { return parsePasswords(c.Htpasswd, f[0]) }, c.Htpasswd)
		if err != nil {
			return err
		}
		g.logins = newLogins(file)
	}
	if c.Tokens != "" {
		if g.tokens, err = watch(c, func(f [][]byte) (tokens, error) { return parseTokens(c.Tokens, f[0]) }, c.Tokens); err != nil {
			return err
		}
	}
	if c.Rules != "" {
		if g.rules, err = watch(c, func(f [][]byte) (Rules, error) { return parseRules(c.Rules, f[0]) }, c.Rules); err != nil {
			return err
		}
	}
	if c.TLSCert != "" {
		g.certs, err = watchTLS(c)
	}
	return err
}

// open reports whether nobody can show credentials.
func (g *Gate) open() bool {
	return g.logins == nil && g.tokens == nil && g.config.ClientCAs == ""
}

// Permit tells whether requests may be taken on an address: nil,
// ErrNeedsCredentials or ErrNeedsTLS.
func (g *Gate) Permit(addr net.Addr) error {
	switch {
	case isLoopback(addr):
		return nil
	case g.config.NoAuth:
		return nil
	case g.open():
		return ErrNeedsCredentials
	case g.certs == nil && !g.config.PlainHTTP:
		return ErrNeedsTLS
	}
	return nil
}

// isLoopback reports whether only this host reaches addr.
func isLoopback(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// TLS returns what listeners are to use; nil without a certificate.
func (g *Gate) TLS() *tls.Config {
	if g.certs == nil {
		return nil
	}
	return serverTLS(g.certs)
}

// identity returns who somebody is with what the rules are now.
func (g *Gate) identity(user, via string) Identity {
	i := Identity{User: user, Via: via, readOnly: g.config.ReadOnly}
	switch {
	case g.rules != nil:
		i.rules, _ = g.rules.get()
	case user == Anonymous && !g.open():
		i.rules = Rules{list: []rule{}} // who is not known may do nothing
	}
	return i
}
