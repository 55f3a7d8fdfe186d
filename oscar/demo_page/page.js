'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const COLOURS = {
  zero: '#8c8c8c', one: '#e4572e', two: '#2e86ab', three: '#3fa34d', four: '#a23b72', five: '#e0a100',
  six: '#00a6a6', seven: '#7a5cff', eight: '#d1495b', nine: '#6b8e23',
};
const SVG = 'http://www.w3.org/2000/svg';
let numberOfMasks = 0;

function h(name, attributes, ...children) {
  const element = name.startsWith('svg:')
    ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
}
const code = (text) => h('code', {}, text);
const percent = (p) => (p > 0 && p < 0.005 ? '<1 %' : `${Math.round(100 * p)} %`);


/* A picture with its boxes; `read(shares)` lights up regions, `read(null)` shows the tags again. */
function picture(key, withTags = true) {
  const { boxes, tags } = data.shapes[key];
  const mask = `mask${numberOfMasks++}`;
  const holes = boxes.map(([x1, y1, x2, y2]) => h('svg:rect', {
    x: x1 - 1, y: y1 - 1, width: x2 - x1 + 2, height: y2 - y1 + 2, rx: 2, fill: '#000', opacity: 0,
  }));
  const frames = boxes.map(([x1, y1, x2, y2]) => h('svg:rect', {
    class: 'box', x: x1 - 1, y: y1 - 1, width: x2 - x1 + 2, height: y2 - y1 + 2, rx: 2,
  }));
  const labels = boxes.map(([x1, y1, x2, y2]) => h('svg:text', {
    x: Math.min(138, Math.max(1, x1 - 1)), y: y1 > 9 ? y1 - 2.6 : Math.min(118, y2 + 7.4),
  }));
  const shade = h('svg:rect', { width: 160, height: 120, fill: '#000', opacity: 0, mask: `url(#${mask})` });
  const svg = h('svg:svg', {
    class: 'picture', viewBox: '0 0 160 120', role: 'img',
    'aria-label': `Scene ${key} with the tags ${tags.join(', ')}`,
  },
  h('svg:mask', { id: mask }, h('svg:rect', { width: 160, height: 120, fill: '#fff' }), holes),
  h('svg:image', { href: data.pictures[key], width: 160, height: 120 }), shade, frames, labels);
  svg.read = (shares) => {
    svg.classList.toggle('reading', Boolean(shares));
    shade.setAttribute('opacity', shares ? 0.72 : 0);
    const most = shares ? Math.max(...shares, 1e-9) : 1;
    boxes.forEach((_, i) => {
      const share = shares ? (shares[i] || 0) : 0;
      holes[i].setAttribute('opacity', share / most);
      frames[i].style.strokeOpacity = shares ? 0.12 + 0.88 * share / most : '';
      labels[i].textContent = shares ? percent(share) : withTags ? tags[i] || '' : '';
      labels[i].style.opacity = shares ? 0.45 + 0.55 * share / most : 1;
    });
  };
  svg.read(null);
  return svg;
}

/* The words and tags of texts, which show on `pictures` where they read. One reading a picture. */
function words(readings, pictures) {
  const box = h('div', {});
  const hint = h('p', { class: 'hint', 'aria-live': 'polite' });
  const resting = matchMedia('(hover: none)').matches
    ? 'Tap a word to see the regions that it reads.'
    : 'Point at a word to see the regions that it reads; click to keep it, or use the arrow keys.';
  let layer = 0;
  let kept = null;
  const buttons = [];
  // Words of a pair's images are the same, tags are not: shown for each.
  const [first] = readings;
  const end = first.tokens.indexOf('[SEP]');
  const line = (label, places, side) => h('div', { class: 'words', role: 'group', 'aria-label': label },
    h('span', { class: 'label' }, label), places.map((place) => chip(place, side)));
  function chip(place, side) {
    const reading = readings[side === null ? 0 : side];
    const button = h('button', {
      type: 'button', class: side === null ? null : 'tag', 'aria-pressed': 'false',
      tabindex: buttons.length ? -1 : 0,
      onmouseenter: () => show(button), onmouseleave: () => show(kept), onfocus: () => show(button),
      onblur: () => show(kept),
      onclick: () => { kept = kept === button ? null : button; show(kept); },
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = buttons[(buttons.indexOf(button) + step + buttons.length) % buttons.length];
        buttons.forEach((b) => { b.tabIndex = b === next ? 0 : -1; });
        next.focus();
      },
    }, reading.tokens[place].replace(/^##/, ''));
    button.place = place;
    button.side = side;
    buttons.push(button);
    return button;
  }
  function show(button) {
    buttons.forEach((b) => {
      b.classList.toggle('on', b === button);
      b.setAttribute('aria-pressed', String(b === kept));
    });
    if (!button) {
      pictures.forEach((p) => p.read(null));
      hint.textContent = resting;
      return;
    }
    const told = [];
    pictures.forEach((p, i) => {
      if (button.side !== null && button.side !== i) { p.read(null); return; }
      const row = readings[i].weights[layer][button.place];
      const total = row.reduce((a, b) => a + b, 0);
      p.read(row.map((w) => (total ? w / total : 0)));
      told.push(percent(total));
    });
    hint.textContent = `“${button.textContent}”: ${told.join(' and ')} of its attention goes to regions`
      + `${told.length > 1 ? ' (left and right image)' : ''}; the figures share that out.`;
  }
  const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
  box.append(line('Words', range(1, end), null));
  readings.forEach((reading, side) => {
    const stop = reading.tokens.lastIndexOf('[SEP]');
    if (stop > end) {
      const label = readings.length > 1 ? ['Tags left', 'Tags right'][side] : 'Tags';
      box.append(line(label, range(end + 1, stop), side));
    }
  });
  const choice = h('select', { onchange: () => { layer = Number(choice.value); show(kept); } },
    first.weights.map((_, i) => h('option', { value: i }, i ? `layer ${i}` : 'all layers')));
  box.append(hint, h('label', { class: 'layers' }, 'Attention of ', choice));
  show(null);
  box.keep = (text) => {
    kept = buttons.find((b) => b.textContent === text) || null;
    show(kept);
  };
  return box;
}

function section(id, title, intro) {
  const element = h('section', { id, 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title` }, title), intro ? h('p', { class: 'intro' }, intro) : null);
  document.getElementById('main').append(element);
  document.getElementById('contents').append(h('a', { href: `#${id}` }, title));
  return element;
}

function bars(top) {
  return h('div', { class: 'bars' }, top.map(([text, p, score]) => [
    h('span', {}, text),
    h('i', { class: score > 0 ? 'right' : '', style: `width:${Math.max(0.5, 100 * p)}%` }),
    h('span', {}, percent(p)),
  ]));
}

function stepper(count, what, show) {
  let at = 0;
  const where = h('span', { 'aria-live': 'polite' });
  const go = (to) => { at = (to + count) % count; where.textContent = `${what} ${at + 1} of ${count}`; show(at); };
  const element = h('div', { class: 'stepper' },
    h('button', { type: 'button', 'aria-label': `Previous ${what}`, onclick: () => go(at - 1) }, '‹'),
    h('button', { type: 'button', 'aria-label': `Next ${what}`, onclick: () => go(at + 1) }, '›'), where);
  return [element, () => go(0)];
}

function explore() {
  const names = { captioning: 'captions', vqa: 'questions of VQA', gqa: 'questions of GQA' };
  const shown = Object.keys(names).filter((task) => data.tasks.includes(task));
  const about = shown.length ? ` Choose a caption or a question.` : '';
  const element = section('scenes', 'Look at a scene',
    'Handwritten digits that no training has seen. A detector found the regions and named each: these '
    + `names are the tags, and they can be wrong. The scenes are the first of the test set, not picked.${about}`);
  const strip = h('div', { class: 'strip', role: 'group', 'aria-label': 'Scenes' });
  const stage = h('div', { class: 'stage' });
  const side = h('div', {});
  element.append(strip, h('div', { class: 'explorer' }, stage, side));
  const thumbs = data.scenes.map((scene, i) => h('button', {
    type: 'button', 'aria-label': `Scene ${i + 1}`, onclick: () => choose(i),
  }, h('img', { src: data.pictures[scene.key], alt: '', width: 160, height: 120 })));
  strip.append(...thumbs);

  function choose(i) {
    const scene = data.scenes[i];
    thumbs.forEach((b, n) => b.setAttribute('aria-pressed', String(n === i)));
    side.replaceChildren();
    const items = [];
    const item = (reading, body) => {
      const button = h('button', {
        type: 'button', class: 'item', 'aria-pressed': 'false', onclick: () => {
          select(button);
          // On a phone the picture is above the list.
          if (stage.getBoundingClientRect().top < 0) stage.scrollIntoView();
        },
      }, body);
      button.reading = reading;
      items.push(button);
      return h('li', {}, button);
    };
    function select(button) {
      items.forEach((b) => b.setAttribute('aria-pressed', String(b === button)));
      const view = picture(scene.key);
      stage.replaceChildren(view);
      if (button && button.reading) stage.append(words([button.reading], [view]));
    }
    if (scene.captions) {
      const [best, ...others] = scene.captions;
      side.append(h('h3', {}, 'Written by the model'), h('ul', { class: 'list' },
        best.attention
          ? item(best.attention, h('span', { class: 'row' }, h('span', { class: 'verdict' }, best.text),
            h('span', { class: 'figure' }, percent(best.confidence))))
          : h('li', { class: 'item row' }, h('span', { class: 'verdict' }, best.text),
            h('span', { class: 'figure' }, percent(best.confidence))),
        h('li', {}, h('details', {}, h('summary', {}, 'Other captions it thought of, and what was written for the scene'),
          h('ul', {}, others.map((o) => h('li', {}, `${o.text} (${percent(o.confidence)})`))),
          h('p', { style: 'margin:10px 0 0' }, 'Written for the scene:'),
          h('ul', {}, scene.references.map((text) => h('li', {}, text)))))));
    }
    for (const [task, name] of [['vqa', 'Simple questions (VQA)'], ['gqa', 'Composed questions (GQA)']]) {
      if (!scene[task]) continue;
      side.append(h('h3', {}, name), h('ul', { class: 'list' }, scene[task].map((asked) => {
        const right = asked.top[0][2] > 0;
        return item(asked.attention, [
          h('span', { style: 'display:block' }, asked.question),
          h('span', { class: 'row' },
            h('span', {}, h('span', { class: `verdict ${right ? 'yes' : 'no'}` }, `${right ? '✓' : '✗'} ${asked.top[0][0]}`),
              right ? null : h('span', { class: 'figure' }, ` right: ${asked.right}`)),
            h('span', { class: 'figure' }, percent(asked.top[0][1]))),
          h('details', { onclick: (e) => e.stopPropagation() }, h('summary', {}, 'other answers'), bars(asked.top)),
        ]);
      })));
    }
    // Details within a button cannot be opened by a keyboard: they go below it.
    side.querySelectorAll('button.item details').forEach((d) => {
      d.style.margin = '4px 0 0 12px';
      d.closest('li').append(d);
    });
    select(items.find((b) => b.reading) || null);
  }
  choose(0);
  const asked = data.scenes.flatMap((s) => [...(s.vqa || []), ...(s.gqa || [])]);
  if (asked.length) {
    const right = asked.filter((q) => q.top[0][2] > 0).length;
    element.append(h('p', { class: 'intro', style: 'margin-top:18px' },
      `Of the ${asked.length} questions shown here the model answers ${right} right. `
      + 'Figures beside captions are the mean probability of their words; beside answers, that of the answer.'
      + (data.tasks.includes('captioning')
        ? ' Attention of a word in a caption is that of the captioning model when it chose the word.' : '')));
  }
}

function search() {
  const { sentences, images, right, size } = data.retrieval;
  const element = section('search', 'Search by sentence, search by image',
    `${size} scenes and one sentence for each. The model scores every pair; the right one is green. `
    + `It comes first for ${right.images} of ${size} sentences and ${right.sentences} of ${size} images.`);
  const a = h('div', {}); const b = h('div', {});
  const [stepA, startA] = stepper(sentences.length, 'sentence', (i) => {
    const one = sentences[i];
    const views = one.found.map((f) => picture(f.key, false));
    a.replaceChildren(h('p', { class: 'quote' }, `“${one.text}”`),
      h('div', { class: 'found' }, one.found.map((f, n) => h('figure', { class: f.right ? 'right' : '' },
        h('div', { class: 'frame' }, views[n]),
        h('figcaption', {}, `${n + 1}. ${percent(f.probability)}${f.right ? ' ✓' : ''}`)))),
      words([one.attention], [views[0]]));
  });
  const [stepB, startB] = stepper(images.length, 'image', (i) => {
    const one = images[i];
    b.replaceChildren(h('div', { class: 'two' }, h('div', { style: 'max-width:420px' }, picture(one.key)),
      h('ul', { class: 'list' }, one.found.map((f) => h('li', { class: 'item row' },
        h('span', { class: f.right ? 'verdict yes' : '' }, `${f.right ? '✓ ' : ''}${f.text}`),
        h('span', { class: 'figure' }, percent(f.probability)))))));
  });
  element.append(h('div', { class: 'card' }, h('h3', {}, 'Images for a sentence'), stepA, a),
    h('div', { class: 'card', style: 'margin-top:20px' }, h('h3', {}, 'Sentences for an image'), stepB, b));
  startA(); startB();
}

function compare() {
  const right = data.pairs.filter((p) => p.truth === p.prediction).length;
  const element = section('pairs', 'True of both images?',
    'A statement about two images is true or false (NLVR2). The same statement appears with other images, '
    + `where its truth is the opposite. Of the ${data.pairs.length} here the model judges ${right} right.`);
  const body = h('div', {});
  const [step, start] = stepper(data.pairs.length, 'statement', (i) => {
    const pair = data.pairs[i];
    const views = [picture(pair.left), picture(pair.right)];
    const good = pair.prediction === pair.truth;
    const say = (value) => (value ? 'true' : 'false');
    const both = pair.attention.length === 2;
    body.replaceChildren(h('p', { class: 'quote' }, `“${pair.statement}”`),
      h('p', { style: 'margin:6px 0 14px' },
        h('span', { class: `verdict ${good ? 'yes' : 'no'}` }, `${good ? '✓' : '✗'} ${say(pair.prediction)}`),
        h('span', { class: 'figure' }, ` ${percent(pair.probability)}${good ? '' : `; it is ${say(pair.truth)}`}`)),
      h('div', { class: 'pair' }, views), both ? words(pair.attention, views) : null);
  });
  element.append(h('div', { class: 'card' }, step, body));
  start();
}

function drawMap() {
  const { points, nearest, chance, same } = data.map;
  // The paper's claim, measured: said only as far as the numbers carry it.
  const together = nearest > 2 * chance
    ? 'Words and regions of one name lie together:' : 'Words and regions of one name do not lie together here:';
  const element = section('map', 'A map of words and regions',
    'Tags (rings) and regions (dots) of scenes, as the last layer of the pre-trained model represents them, '
    + 'placed by t-SNE so that neighbours stay neighbours; colours are the detector’s names. '
    + `A region’s nearest region in another scene has its name for ${percent(same.region)}, a tag’s nearest tag for ${percent(same.tag)}. `
    + `${together} a region’s nearest tag is its own name for ${percent(nearest)} (by chance ${percent(chance)}).`);
  const size = 640; const edge = 14;
  const place = (v) => edge + v * (size - 2 * edge);
  const plot = h('svg:svg', { class: 'plot', viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': 'Map of tags and regions' });
  const detail = h('div', {});
  const help = h('p', { class: 'shape' }, 'Point at a mark or tap it to see where it comes from.');
  let chosen = null;
  const marks = points.map(([x, y, kind, tag, key, number]) => {
    const colour = COLOURS[tag] || '#888';
    const mark = kind === 'region'
      ? h('svg:circle', { class: 'point', cx: place(x), cy: place(y), r: 6, fill: colour })
      : h('svg:circle', { class: 'point', cx: place(x), cy: place(y), r: 6, fill: 'var(--card)', style: `stroke:${colour};stroke-width:3` });
    const show = () => {
      marks.forEach((m) => m.classList.toggle('on', m === mark));
      if (!data.pictures[key]) {
        detail.replaceChildren(h('p', { class: 'shape' }, `The ${kind} “${tag}” of scene ${key}.`));
        return;
      }
      const view = picture(key);
      detail.replaceChildren(view, h('p', { class: 'shape', style: 'margin-top:8px' }, `The ${kind} “${tag}” of this scene.`));
      const shares = data.shapes[key].boxes.map((_, i) => (i === number ? 1 : 0));
      view.read(shares);
      view.querySelectorAll('text').forEach((t, i) => { t.textContent = i === number ? tag : ''; });
    };
    mark.addEventListener('mouseenter', show);
    mark.show = show;
    mark.at = [place(x), place(y)];
    mark.tag = tag;
    return mark;
  });
  plot.append(...marks);
  // Fingers are wider than marks: a tap takes the nearest one.
  plot.addEventListener('click', (event) => {
    const { left, top, width } = plot.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top].map((v) => v * size / width);
    const shown = marks.filter((m) => !m.classList.contains('off'));
    const far = (m) => Math.hypot(m.at[0] - x, m.at[1] - y);
    const [closest] = shown.sort((a, b) => far(a) - far(b));
    if (closest && far(closest) * width / size < 24) closest.show();
  });
  const names = Object.keys(COLOURS).filter((name) => points.some((p) => p[3] === name));
  const buttons = names.map((name) => h('button', {
    type: 'button', 'aria-pressed': 'false',
    onclick: () => {
      chosen = chosen === name ? null : name;
      marks.forEach((m) => m.classList.toggle('off', chosen !== null && m.tag !== chosen));
      buttons.forEach((b) => b.setAttribute('aria-pressed', String(b.name === chosen)));
    },
  }, h('b', { style: `background:${COLOURS[name]}` }), name));
  buttons.forEach((b, i) => { b.name = names[i]; });
  detail.append(help);
  element.append(h('div', { class: 'card map' }, plot, h('div', {}, h('div', { class: 'legend', role: 'group', 'aria-label': 'Show one name' }, buttons), detail)));
}

const digits = (v) => (v === undefined || v === null ? '–' : v.toFixed(3));
const readable = (metric) => metric.replaceAll('_', ' ');
const table = (titles, rows) => h('div', { class: 'scroll' }, h('table', {},
  h('thead', {}, h('tr', {}, titles.map((title) => h('th', { scope: 'col' }, title)))),
  h('tbody', {}, rows)));

/* The models of this page, each by the metric that chose its checkpoint. */
function evaluations() {
  const evaluated = Object.entries(data.evaluations).filter(([, values]) => Object.keys(values).length);
  return evaluated.length && table(['task', 'metric', 'this page’s model'], evaluated.map(([task, values]) => {
    const [name] = Object.keys(values);
    return h('tr', {}, h('td', {}, task), h('td', {}, readable(name)), h('td', { class: 'ours' }, digits(values[name])));
  }));
}

/* Trainings with several seeds, beside baselines. */
function quality() {
  const rows = data.quality;
  const spread = (values, mean, deviation) => (values.length > 1 ? `${digits(mean)} ± ${digits(deviation)}` : digits(mean));
  const columns = [['chance', 'chance'], ['majority_by_kind', 'by kind'], ['text', 'words'],
    ['text_and_tags', 'words + tags'], ['template', 'template'], ['reference', 'a reference']]
    .filter(([name]) => rows.some((row) => row.baselines[name] !== undefined));
  const titles = ['task', 'metric', 'seeds', ...columns.map(([, title]) => title), 'without regions', 'with regions', 'goal'];
  return table(titles, rows.map((row) => h('tr', {}, h('td', {}, row.task), h('td', {}, readable(row.metric)),
    h('td', {}, row.shown.length), columns.map(([name]) => h('td', {}, digits(row.baselines[name]))),
    h('td', {}, spread(row.masked, row.masked_mean, row.masked_deviation)),
    h('td', { class: 'ours' }, spread(row.shown, row.shown_mean, row.shown_deviation)),
    h('td', {}, row.goal === null ? '–' : row.goal.toFixed(2)))));
}

function figures() {
  const own = evaluations();
  if (!own && !data.quality.length) return;
  const element = section('figures', 'How good is it?', 'On held-out scenes, of digits that no training has seen.');
  if (own) element.append(own);
  if (data.quality.length) {
    element.append(h('p', { class: 'intro' }, 'The same tasks trained with other seeds, mean and spread. “Without regions” is the same '
      + 'model that may not look: what it loses there is what it owes to seeing.'), quality());
  } else {
    element.append(h('p', { class: 'intro' }, code('python -m oscar.scenes_quality'), ' measures several seeds and baselines beside them.'));
  }
}

function commands() {
  const element = section('own', 'Try your own',
    'The models take any picture with things on a plain background, such as the scenes’ own. Pictures need the '
    + 'scenes’ detector; they know the digits and colours of the scenes and nothing else.');
  const { directory } = data.world;
  const [key] = data.scenes.map((s) => s.key);
  const image = `${directory}/images/${key}.png`;
  const of = {
    captioning: ['A caption', [`--image=${image}`]],
    vqa: ['A question', [`--image=${image}`, '--question="how many red digits are there?"']],
    gqa: ['A composed question', [`--image=${image}`, '--question="is there a red number above the seven?"']],
    retrieval: ['Do a sentence and a picture belong together?', [`--image=${image}`, '--text="a red seven and a blue two"']],
    nlvr2: ['A statement about two pictures', [`--left=${image}`,
      `--right=${directory}/images/${data.scenes[1].key}.png`, '--statement="both images show a seven"']],
  };
  const list = h('div', { class: 'commands' });
  for (const task of data.tasks) {
    const [title, flags] = of[task];
    const command = ['python -m oscar.predict', `--export_dir=${data.exports[task]}`, `--detector=${directory}`, ...flags];
    list.append(h('h3', {}, title), h('pre', { tabindex: 0 }, command.join(' \\\n    ')));
  }
  list.append(h('p', { class: 'intro' }, 'For a picture of your own give its path as ', code('--image'),
    '. If its background is not plain, add ', code('--boxes=boxes.json'), ', a file with ',
    code('[[x1, y1, x2, y2], ...]'), ' in pixels, or ', code('--grid=3'), '. With ', code('--attention'),
    ' the output has the attention of words to regions; ', code('--input=FILE.jsonl'), ' predicts many. Run ',
    code('python -m oscar.predict --help'), ' for the rest.'));
  element.append(list);
}

function start() {
  const { world } = data;
  document.getElementById('lead').append(
    'OSCAR reads a sentence, the names of the objects in a picture and the picture’s regions, all in one sequence. ',
    h('b', {}, 'Point at a word and see where it looks.'),
    ` The models here are small, trained from nothing on ${data.training_scenes.toLocaleString('en')} generated scenes of handwritten digits; `
    + `what you see is ${world.scenes.toLocaleString('en')} other scenes, of digits that no training has seen.`);
  const top = document.querySelector('header.top');
  if (data.quick) top.append(h('p', { class: 'notice' }, 'Made with ', code('--quick'), ': the models were trained for a few steps and know nothing.'));
  if (data.missing.length) top.append(h('p', { class: 'notice' }, 'Not shown, as ', code('--tasks'), ` left them out: ${data.missing.join(', ')}.`));
  explore();
  if (data.retrieval) search();
  if (data.pairs) compare();
  drawMap();
  figures();
  commands();
  document.getElementById('foot').append(
    'Made by ', code('python -m oscar.demo'), '. Li et al., “Oscar: Object-Semantics Aligned Pre-training for Vision-Language Tasks”, arXiv 2004.06165. '
    + 'Attention shows where a model reads, not why it answers. Digits: the test part of “Optical Recognition of Handwritten Digits” (UCI).');
}
start();
