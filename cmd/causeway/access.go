package main

import (
	"errors"
	"net"

	"github.com/spf13/pflag"

	"github.com/causewayfs/causeway/gateway/access"
)

// accessSettings say who is let in where files are served over HTTP.
type accessSettings struct {
	htpasswd, tokens, rules      string
	tlsCert, tlsKey, tlsClientCA string
	noAuth, plainHTTP            bool
}

// accessFlags say who is let in.
func (s *settings) accessFlags(f *pflag.FlagSet) {
	a := &s.access
	f.StringVar(&a.htpasswd, "htpasswd", "", "`FILE` of users and passwords, as causeway passwd writes it; read again when it changes")
	f.StringVar(&a.tokens, "tokens", "", "`FILE` of users and bearer tokens, as causeway passwd --token writes it")
	f.StringVar(&a.rules, "access-rules", "", "`FILE` of lines USER PATH none|read|write; without it every user may do everything")
	f.StringVar(&a.tlsCert, "tls-cert", "", "`FILE` with the certificate for HTTPS; read again when it changes")
	f.StringVar(&a.tlsKey, "tls-key", "", "`FILE` with its key")
	f.StringVar(&a.tlsClientCA, "tls-client-ca", "", "`FILE` with the authorities whose client certificates are credentials")
	f.BoolVar(&a.noAuth, "insecure-no-auth", false, "serve files to others without credentials: everybody who can reach the address may read and write")
	f.BoolVar(&a.plainHTTP, "insecure-http", false, "take credentials of others without TLS: everybody on the way can read them")
}

// gate opens what requests go through.
func (g *gateway) gate() (*access.Gate, error) {
	s := &g.settings.access
	gate, err := access.Open(access.Config{
		Htpasswd: s.htpasswd, Tokens: s.tokens, Rules: s.rules,
		TLSCert: s.tlsCert, TLSKey: s.tlsKey, ClientCAs: s.tlsClientCA,
		ReadOnly: g.settings.readOnly, NoAuth: s.noAuth, PlainHTTP: s.plainHTTP,
		Log: g.log,
	})
	if err != nil {
		return nil, &problem{what: "set up who is let in", err: err}
	}
	return gate, nil
}

// admits refuses an address, as it was written and as it is, that others can reach
// without being asked for credentials, or that shows these to others.
func admits(gate *access.Gate, addr string, listening net.Addr) error {
	err := gate.Permit(listening)
	if err == nil {
		return nil
	}
	p := &problem{what: "serve files on " + addr, err: err}
	switch {
	case errors.Is(err, access.ErrNeedsCredentials):
		p.remedy = "Give --htpasswd FILE (causeway passwd writes it), or listen on 127.0.0.1, or give --insecure-no-auth if everybody may read and write all of it"
	case errors.Is(err, access.ErrNeedsTLS):
		p.remedy = "Give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has them, or give --insecure-http if nobody listens on the way"
	}
	return p
}
