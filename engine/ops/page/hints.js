// What helps a client that was refused, and what changes a limit: the flags of the program.
// A program that embeds the package has options of the same names.

export const causes = {
  transport_unknown: 'The query has no transport, or one that --transports leaves out.',
  foreign_origin: '',
  middleware: 'A middleware of the application has answered.',
  websocket_handshake: 'The request is no WebSocket handshake. A proxy may not pass Upgrade and Connection on.',
  conns: 'The client has too many connections: --max-conns-per-ip or --exempt.',
  bad_request: 'Not a request of the protocol. A proxy may not pass Upgrade and Connection on.',
  bad_method: 'A session begins with GET.',
  revision: 'The query has no EIO, or one that --revisions leaves out. Clients send EIO=4.',
  admit: 'The application does not want this client. The log has the cause.',
  id: 'The application has made no usable id. The log has the cause.',
  draining: 'This server is ending. A load balancer should send new clients elsewhere.',
  handshake_rate: 'Too many new sessions from one address: --handshake-rate, --exempt, or --trusted-proxy if it is a proxy.',
  sessions: 'There is no place for more sessions: --max-sessions, or the descriptor limit.',
  sessions_per_ip: 'Too many sessions of one address: --max-sessions-per-ip, --exempt, or --trusted-proxy if it is a proxy.',
  admitting: 'Too many clients wait for the application to let them in.',
  admit_timeout: 'The application has taken too long to let the client in.',
  session_unknown: 'The session has ended, or is on another server: then the load balancer has to be sticky (--cookie).',
  binding: 'The request comes from another address than its session. Behind a proxy: --trusted-proxy; for clients that roam: no --bind-ip.',
  transport_mismatch: 'The session is on WebSocket by now, and this is a poll or a post. A proxy may repeat requests.',
  revision_mismatch: 'The EIO of the request is not that of its session.',
  upgrades: 'Too many sessions go over to WebSocket at the same time: --max-upgrades.',
  upgrade: 'A session can go over to WebSocket once, and not with --no-upgrades.',
};

export const limits = {
  conns: '--max-conns, or the descriptor limit',
  conns_per_ip: '--max-conns-per-ip, --exempt',
  conn_rate: '--conn-rate, --exempt',
  proxy_header: '--trusted-proxy, --proxy-protocol',
  tls_handshakes: '--max-tls-handshakes',
  tls_handshake_timeout: '--tls-handshake-timeout',
  handshake_rate: '--handshake-rate, --exempt',
  sessions: '--max-sessions, or the descriptor limit',
  sessions_per_ip: '--max-sessions-per-ip, --exempt',
  request_line: '--max-request-line',
  header_bytes: '--max-header-bytes',
  headers: '--max-headers',
  header_timeout: '--header-timeout',
  body_timeout: '--body-timeout',
  idle_timeout: '--idle-timeout',
  payload: '--max-payload',
  payload_packets: '--max-payload-packets',
  fragments: '--max-fragments',
  pipelined: '--max-pipelined',
  body_budget: '--body-budget',
  polls: '--max-polls',
  upgrades: '--max-upgrades',
  upgrade_timeout: '--upgrade-timeout',
  admitting: 'Limits.MaxAdmitting of the package',
  admit_timeout: 'Timeouts.Admit of the package',
  first_request_timeout: '--first-request-timeout',
  queue: '--max-queue',
  queue_packets: '--max-queue-packets',
  queue_budget: '--queue-budget',
  close_timeout: '--close-timeout',
  pending: 'Limits.MaxPending of the package',
  pending_budget: 'Limits.PendingBudget of the package',
  fallback: 'Limits.MaxFallback of the package',
  fallback_waiting: 'Limits.MaxFallbackWaiting of the package',
};

// origin is what a browser sends that a flag can name. Anything else that a client has
// written is never shown as a part of a command.
const origin = /^https?:\/\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$/;

// help is how a request of this kind is let in: a text, and a flag where there is one.
export function help({ cause, value, host }) {
  if (cause !== 'foreign_origin') return { text: causes[cause] ?? '' };
  if (value === '') return { text: 'A script element of another site has sent it, without an Origin. Only --any-origin lets it in.' };
  const proxy = `Or this is the server's own page, and a proxy has changed Host: have the proxy pass Host and X-Forwarded-Proto on.`;
  if (!origin.test(value)) return { text: `This Origin cannot be named; only --any-origin lets it in. ${host ? proxy : ''}` };
  return { text: `To let this page in, name it; --origin is enough for a page that takes WebSocket alone and never polls. ${proxy}`, flag: `--cors-origin ${value}` };
}
