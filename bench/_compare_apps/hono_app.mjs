// Hono on Node. It checks no types by itself, so an order is checked by hand. Arguments: port, and a JSON file of texts.

import { readFileSync } from 'node:fs'
import { serve, upgradeWebSocket } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { Hono } from 'hono'
import { compress } from 'hono/compress'
import { getSignedCookie, setSignedCookie } from 'hono/cookie'
import { etag } from 'hono/etag'
import { stream } from 'hono/streaming'
import { WebSocketServer } from 'ws'

const [port, file] = process.argv.slice(2)
const texts = JSON.parse(readFileSync(file, 'utf8'))
const app = new Hono()

app.get('/text', (c) => c.text(texts.text))
app.get('/json', (c) => c.json(texts.small))
app.get('/json10', (c) => c.json(texts.large))
app.get('/items/:number', (c) =>
  c.json({
    item: Number(c.req.param('number')),
    q: c.req.query('q'),
    limit: Number(c.req.query('limit')),
    agent: c.req.header('user-agent'),
    language: c.req.header('accept-language'),
    request: c.req.header('x-request-id'),
  })
)

const isOrder = (order) =>
  Number.isInteger(order.id) &&
  typeof order.customer === 'string' &&
  typeof order.gift === 'boolean' &&
  Array.isArray(order.lines) &&
  order.lines.every(
    (line) =>
      typeof line.sku === 'string' && Number.isInteger(line.count) && typeof line.price === 'number'
  )

app.post('/order', async (c) => {
  const order = await c.req.json()
  return isOrder(order) ? c.json({ id: order.id, lines: order.lines.length }) : c.text('order', 422)
})
app.post('/form', async (c) => {
  const form = await c.req.parseBody()
  return c.json({ name: form.name, age: Number(form.age) })
})
app.post('/upload', async (c) => {
  const { file } = await c.req.parseBody()
  return c.json({ name: file.name, size: (await file.arrayBuffer()).byteLength })
})
app.get('/session', async (c) => {
  const count = Number((await getSignedCookie(c, texts.secret, 'session')) || 0) + 1
  await setSignedCookie(c, 'session', String(count), texts.secret, { httpOnly: true, sameSite: 'Lax' })
  return c.text(String(count))
})
app.use('/assets/*', etag(), compress(), serveStatic({ root: texts.files, rewriteRequestPath: (path) => path.slice(7) }))
app.get('/page', (c) => c.html(texts.page))
app.get('/stream', (c) => {
  c.header('content-type', 'text/plain; charset=utf-8')
  return stream(c, async (out) => {
    for (let number = 0; number < texts.chunks; number++) await out.write(texts.chunk)
  })
})
app.get('/echo', upgradeWebSocket(() => ({ onMessage: (event, ws) => ws.send(event.data) })))

serve({
  fetch: app.fetch,
  port: Number(port),
  hostname: '127.0.0.1',
  websocket: { server: new WebSocketServer({ noServer: true, perMessageDeflate: false }) },
})
