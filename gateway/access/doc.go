// Package access decides who may ask what of an HTTP endpoint, and how much of
// it at once. It knows HTTP and files with credentials, and neither WebDAV nor
// the filesystem.
//
// A [Gate] is what all requests go through ([Gate.Wrap]); [Limits] make the
// server under it, which gives up on clients that take too long or too much.
//
// # Who somebody is
//
// A request is its client certificate's, its password's (RFC 7617) or its
// token's (RFC 6750), in this order; a token may also stand for the password,
// for clients that know no other way. Without any of these it is [Anonymous].
// Passwords are in a file as htpasswd -B writes it, tokens in one of their
// SHA-256; both are read again when they change. A file that cannot be read, or
// has an error, changes nothing until it is mended: what was read last holds.
//
// A password costs one bcrypt at its first use, and an HMAC after that: what was
// right is remembered under a key that no other process has, until the file
// changes. An unknown user costs the same bcrypt as a wrong password.
//
// Failed logins are counted by address (for IPv6 by /64), and decay. After a few
// of them an address has to wait before its next new password is looked at: 429
// with Retry-After, with no work done. What is remembered as right still passes,
// so that nobody loses a session to a neighbour. There is a bound on how many
// addresses are remembered, and on how many passwords are looked at together.
//
// # What somebody may do
//
// [Rules] give users levels on paths. The longest path that leads to what is
// asked for decides, and for the same path a rule for the user before one for
// everybody. Without rules, whoever is known may do everything. What takes a
// whole tree (DELETE, MOVE, COPY, PROPFIND without a bound) needs the level in
// all of it. Paths that are not what they look like (dot segments, encoded
// slashes, NUL, text that is not UTF-8) are refused before anything is asked, so
// that what is allowed here is what is meant behind.
//
// # What is refused at the start
//
// An address that is not loopback needs credentials ([Config.NoAuth] lifts
// that), and TLS if credentials are used on it ([Config.PlainHTTP] does). With
// neither, on loopback, a request must name a loopback host, so that no web page
// can reach it by a name of its own, and browsers are held to one origin.
package access
